x = [1]
y = x.append
