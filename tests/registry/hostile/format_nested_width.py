y = '{:{w}}'.format(1, w=10**9)
