"""ClearML, DVCLive and Aim as backends of seg-vis; import the module that you need."""
