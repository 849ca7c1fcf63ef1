x = [[i] * 100 for i in range(1000)]
for i in range(1000):
    y = sorted(x)
