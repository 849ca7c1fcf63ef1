x = set([i * (2**61 - 1) for i in range(50000)])
