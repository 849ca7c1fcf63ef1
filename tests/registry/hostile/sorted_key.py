x = sorted([1], key=len)
