x = type('X', (), {})
