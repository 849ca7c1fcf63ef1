_base_ = ['plain_a.yaml.json', 'plain_c.json']
