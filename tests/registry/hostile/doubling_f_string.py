x = 'a'
for i in range(100):
    x = f'{x}{x}'
