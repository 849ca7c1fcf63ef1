for a in range(10**5):
    for b in range(10**5):
        pass
