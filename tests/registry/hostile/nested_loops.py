x = 0
for a in range(10**4):
    for b in range(10**4):
        x += 1
