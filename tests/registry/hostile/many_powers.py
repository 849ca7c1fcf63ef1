x = [2**9999 + i for i in range(100000)]
