with read_base():
    from .read_base_itself import *
