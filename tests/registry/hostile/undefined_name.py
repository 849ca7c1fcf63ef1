num_classes = 3
x = dict(a=num_clases)
