class X:
    y = 1
