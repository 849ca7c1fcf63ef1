_base_ = 'plain_b.json'
x = _base_.no.such
