"""The table of hooks: who is called when, and which hooks a run has by default."""
