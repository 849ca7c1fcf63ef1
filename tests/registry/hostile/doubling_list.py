x = [0]
for i in range(100):
    x = x + x
