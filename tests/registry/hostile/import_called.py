from somewhere import something

x = something()
