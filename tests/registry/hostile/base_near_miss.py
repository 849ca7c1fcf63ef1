_base_ = './syntax_eror.py'
