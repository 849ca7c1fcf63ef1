y = f'{open(1)}'
