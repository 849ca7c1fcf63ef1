"""The demo: street scenes drawn from a seed, three configs, and the command that trains on them."""
