_base_ = 'a\0b.py'
