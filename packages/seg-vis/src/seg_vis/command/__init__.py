"""The command `python -m seg_vis`."""
