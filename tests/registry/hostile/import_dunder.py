x = __import__('os').system('touch canary')
