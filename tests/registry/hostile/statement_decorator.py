@print
def x():
    pass
