x = [[]]
x[0].append(x)
y = str(x)
