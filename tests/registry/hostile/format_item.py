y = '{0[a].__init__}'.format(dict(a=1))
