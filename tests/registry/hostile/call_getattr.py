x = getattr({}, 'clear')
