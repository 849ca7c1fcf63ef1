x = 'a'.encode()
