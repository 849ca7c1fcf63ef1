x = iter([1])
