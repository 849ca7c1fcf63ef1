x = [1] in range(10**18)
