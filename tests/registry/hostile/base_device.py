_base_ = '/dev/zero'
