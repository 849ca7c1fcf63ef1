x = ['%999d' % i for i in range(100000)]
