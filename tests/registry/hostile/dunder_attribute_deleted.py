x = dict()
del x.__class__
