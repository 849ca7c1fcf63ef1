#!/usr/bin/env bash
# Train as a step of Slurm: bash slurm_train.sh PARTITION JOB CONFIG [WORK_DIR] [options of seg train]
#
# Variables: GPUS (4 in all) GPUS_PER_NODE (4) CPUS_PER_TASK (5) SRUN_ARGS (any options of srun) PYTHON
set -euo pipefail

if [ $# -lt 3 ]; then
  echo "usage: bash slurm_train.sh PARTITION JOB CONFIG [WORK_DIR] [options of seg train]" >&2
  exit 2
fi
partition=$1
job=$2
config=$3
shift 3
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
  set -- --work-dir "$@"
fi

. "$(dirname "${BASH_SOURCE[0]}")/srun.sh"
start "$partition" "$job" train "$config" --launcher slurm "$@"
