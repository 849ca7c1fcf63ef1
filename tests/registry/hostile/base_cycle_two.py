_base_ = './base_cycle_one.py'
