_base_ = './notes.txt'
