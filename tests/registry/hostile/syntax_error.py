x = 1
model = dict(type='A'
y = 2
