"""Changes from the command line."""
