x = dict(a=1)
for i in range(100000):
    y = x.a
