x = 'a'
for i in range(100):
    x = '{0}{0}'.format(x)
