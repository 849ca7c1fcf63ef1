"""What code that was written for MMEngine expects of a run: names it reads, objects it is handed, global instances.

Nothing here imports MMEngine. Where a class of the user's derives from one of MMEngine's, MMEngine is imported already,
and `sys.modules` has it.
"""
