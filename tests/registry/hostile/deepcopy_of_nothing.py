import copy
x = copy.deepcopy()
