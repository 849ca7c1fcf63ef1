where = open('x')
_base_ = [f'{where}/plain_b.json']
