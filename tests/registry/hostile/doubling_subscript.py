x = dict(a=1)
for i in range(60):
    x['b'] = [x['a'], x['a']]
    x['a'] = x['b']
