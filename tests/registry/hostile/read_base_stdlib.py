with read_base():
    from json.tool import *
