y = '{__class__}'.format(__class__=1)
