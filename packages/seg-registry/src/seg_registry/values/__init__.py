"""What a config holds: dicts that know where each value is from."""
