x = {i * (2**61 - 1): 0 for i in range(100000)}
