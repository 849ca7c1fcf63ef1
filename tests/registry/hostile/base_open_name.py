x = './a.py'
_base_ = [x]
