with open('canary', 'w') as x:
    pass
