x = globals()['x']
