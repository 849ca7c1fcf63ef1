x = [1]
for i in range(100):
    x.append(x.copy())
    x.extend(x)
