"""A run on several processes: who started them, their group, and how they train one model.

The processes of a run are its ranks. From what is asked first to what is asked last:

* `launch`: who started this process, and as which rank: torchrun and what sets the same, Slurm, MPI.
* `world`: the process group, taken as it is or made, and words between ranks over a group on the CPU.
* `strategy`: how one model is trained on all ranks; `ddp`: every rank has the whole model.
* `agreement`: when ranks ask one another whether to stop; `watch`: how a rank hears that another one has ended, by
  which `endings`, and in which `places` the others wait.
* `norms`: batch norm over all ranks; `shares`: batches that are not dealt out evenly; `virtual`: the same bits on any
  number of processes.
* All that is written is written by rank 0; whatever can fail there fails on all ranks, by `World.first`.
"""
