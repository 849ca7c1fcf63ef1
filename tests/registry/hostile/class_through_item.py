x = dict(a=1)
y = x['a'].__class__
