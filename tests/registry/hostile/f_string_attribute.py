y = f'{().__class__}'
