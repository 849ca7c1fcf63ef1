x = dict(a=1).__class__
