_base_ = 'plain_text.json'
x = [_base_.text[1:] for i in range(50000)]
