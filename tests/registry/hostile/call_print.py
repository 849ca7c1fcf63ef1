x = print('hello')
