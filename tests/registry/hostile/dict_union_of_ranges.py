x = dict(a=1)
x |= [range(10**9)]
