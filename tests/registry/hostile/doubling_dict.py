x = dict(a=1)
for i in range(100):
    x = dict(a=x, b=x)
