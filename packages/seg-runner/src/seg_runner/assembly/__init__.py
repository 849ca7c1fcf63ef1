"""From a config, or from objects, to the parts of a run."""
