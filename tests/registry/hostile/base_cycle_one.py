_base_ = './base_cycle_two.py'
