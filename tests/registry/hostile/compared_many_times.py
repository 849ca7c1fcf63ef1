x = [0] * 50000
y = [0] * 50000
z = [x == y for i in range(10000)]
