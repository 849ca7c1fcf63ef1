_base_ = 'no_such_package::a/b.py'
