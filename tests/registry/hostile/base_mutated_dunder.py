_base_ = 'plain_b.json'
_base_.__class__ = 1
