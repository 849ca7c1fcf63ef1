"""The model's weights: averaged, unwrapped, looked through for values that are not finite."""
