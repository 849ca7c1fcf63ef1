x = 1
y = '{0.__class__}'.format(x)
