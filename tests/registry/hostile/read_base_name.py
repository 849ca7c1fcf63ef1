with read_base():
    from .dunder_ok import nothing
