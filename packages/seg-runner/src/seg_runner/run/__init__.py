"""What stands round a run: start, checks before the first step, the session, the record it leaves."""
