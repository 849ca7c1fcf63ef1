import copy
x = copy.error('x')
