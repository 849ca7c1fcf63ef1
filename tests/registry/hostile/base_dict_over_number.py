_base_ = 'plain_b.json'
lr = dict(a=1)
