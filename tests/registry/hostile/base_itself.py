x = 1
_base_ = 'base_itself.py'
