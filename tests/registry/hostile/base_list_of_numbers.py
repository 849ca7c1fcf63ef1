_base_ = ['a.py', 3]
