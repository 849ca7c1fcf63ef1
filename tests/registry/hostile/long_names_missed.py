x = {str(i) * 900: 1 for i in range(200)}
y = x['0' * 900 + 'x']
