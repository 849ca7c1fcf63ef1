"""TrainState: the hooks in a training loop of one's own."""
