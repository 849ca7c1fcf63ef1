x = open('canary', 'w')
