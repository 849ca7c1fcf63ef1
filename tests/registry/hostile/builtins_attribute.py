x = __builtins__.eval
