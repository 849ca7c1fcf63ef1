x = dict(type=lambda: 1)
