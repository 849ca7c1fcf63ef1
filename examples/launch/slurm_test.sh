#!/usr/bin/env bash
# Test as a step of Slurm: bash slurm_test.sh PARTITION JOB CONFIG CHECKPOINT [options of seg test]
#
# Variables: GPUS (4 in all) GPUS_PER_NODE (4) CPUS_PER_TASK (5) SRUN_ARGS (any options of srun) PYTHON
set -euo pipefail

if [ $# -lt 4 ]; then
  echo "usage: bash slurm_test.sh PARTITION JOB CONFIG CHECKPOINT [options of seg test]" >&2
  exit 2
fi
partition=$1
job=$2
config=$3
checkpoint=$4
shift 4

. "$(dirname "${BASH_SOURCE[0]}")/srun.sh"
start "$partition" "$job" test "$config" "$checkpoint" --launcher slurm "$@"
