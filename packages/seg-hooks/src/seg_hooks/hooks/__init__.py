"""The hooks that a config names."""
