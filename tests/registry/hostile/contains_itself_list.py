x = []
x.append(x)
