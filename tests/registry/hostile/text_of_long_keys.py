x = {'a' * 100000: 1}
y = [str([x] * 100) for i in range(1000)]
