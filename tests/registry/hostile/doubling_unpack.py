x = [1]
for i in range(100):
    x = [*x, *x]
