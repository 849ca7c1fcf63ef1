x = dict(a=dict())
x['a']['b'] = x
