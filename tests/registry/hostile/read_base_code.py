with read_base():
    x = 1
