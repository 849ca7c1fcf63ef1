x = dict()
x.__class__ = 1
