"""The process and the machine: environment, random numbers, signals, the lock on a folder."""
