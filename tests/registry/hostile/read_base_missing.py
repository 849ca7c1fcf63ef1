from x.y import read_base

with read_base():
    from .no_such import *
