x = {}.setdefault('a', 1)
