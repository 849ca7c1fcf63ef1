x = dict(a=1)
x.update([range(10**9)])
