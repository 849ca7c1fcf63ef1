globals().update('ab')
