x = exec('x = 1')
