"""Where pictures go: files, windows, one process of several."""
