x = dict.fromkeys.__self__
