x = 'a'
for i in range(100):
    x = x + x
