x = dict()
x.update(y=x)
