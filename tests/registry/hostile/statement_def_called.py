def x():
    return 1


y = x()
