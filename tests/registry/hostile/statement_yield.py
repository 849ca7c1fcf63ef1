x = [(yield 1)]
