"""The same run, bit for bit, on any number of processes: virtual ranks, and sums in one fixed tree."""
