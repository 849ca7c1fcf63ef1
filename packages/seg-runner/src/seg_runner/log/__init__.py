"""Values of a run: the hub that holds them, and the lines that show them."""
