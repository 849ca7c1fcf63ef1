x = dict(depth=1)
y = x['dept']
