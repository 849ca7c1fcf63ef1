x = map(str, [1])
