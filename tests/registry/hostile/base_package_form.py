_base_ = 'a::b::c.py'
