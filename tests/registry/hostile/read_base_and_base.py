_base_ = 'plain_b.json'
with read_base():
    from .statement_ok import *
