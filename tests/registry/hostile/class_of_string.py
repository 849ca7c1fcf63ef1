x = ''.__class__
