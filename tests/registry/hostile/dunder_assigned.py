__builtins__ = dict()
