"""What of a project written for MMEngine and MMSegmentation runs here: configs, code, scripts and checkpoints."""
