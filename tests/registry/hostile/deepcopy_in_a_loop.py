from copy import deepcopy
x = [0] * 10000
y = [deepcopy(x) for i in range(1000)]
