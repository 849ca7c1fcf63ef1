x = 1
y = dict(type=len)
