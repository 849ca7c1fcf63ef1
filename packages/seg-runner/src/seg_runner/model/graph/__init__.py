"""`compile=dict(mode='graph')`: a whole training step captured once, and repeated without the Python of the step."""
