x = ['{:999}'.format(i) for i in range(100000)]
