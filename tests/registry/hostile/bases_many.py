_base_ = ['plain_empty.json'] * 100000
