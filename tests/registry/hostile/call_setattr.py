x = setattr({}, 'a', 1)
