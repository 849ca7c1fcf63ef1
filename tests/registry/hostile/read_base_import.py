with read_base():
    import os
