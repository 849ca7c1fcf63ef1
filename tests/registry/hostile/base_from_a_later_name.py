_base_ = [f'{where}/plain_b.json']
where = '.'
