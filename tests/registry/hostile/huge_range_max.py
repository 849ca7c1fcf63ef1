x = max(range(10**9))
