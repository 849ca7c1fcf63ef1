x = locals()
