_base_ = 'plain_text.json'
x = [_base_ for i in range(100000)]
