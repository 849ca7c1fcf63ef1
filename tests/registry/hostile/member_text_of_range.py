x = [i for i in range(3) if 'a' not in range(10**12)]
