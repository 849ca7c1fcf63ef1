"""What a run on many devices needs, before it is started: `python -m seg_engine.plan`.

`formulae` has the sums, each with its source; `table` puts them side by side; `measured` finds figures of this machine.
"""
