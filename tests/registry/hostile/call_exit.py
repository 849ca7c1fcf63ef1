x = exit()
