x = filter(None, [1])
