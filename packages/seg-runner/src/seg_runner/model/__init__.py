"""The model in the run: batches in, losses and predictions out."""
