y = '{a.real}'.format(a=1)
