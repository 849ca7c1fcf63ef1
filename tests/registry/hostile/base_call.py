_base_ = open('canary', 'w')
