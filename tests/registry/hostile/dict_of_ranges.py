x = dict([range(10**9)])
