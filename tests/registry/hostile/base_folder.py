_base_ = '.'
