#!/usr/bin/env bash
# Test on the devices of this machine, or of several: bash dist_test.sh CONFIG CHECKPOINT GPUS [options of seg test]
#
# On several machines, run it on each of them with NNODES, NODE_RANK (0, 1, ...) and MASTER_ADDR (that of number 0) set.
# Variables: NNODES NODE_RANK MASTER_ADDR PORT MAX_RESTARTS PYTHON
set -euo pipefail

if [ $# -lt 3 ]; then
  echo "usage: bash dist_test.sh CONFIG CHECKPOINT GPUS [options of seg test]" >&2
  exit 2
fi
config=$1
checkpoint=$2
processes=$3
shift 3

. "$(dirname "${BASH_SOURCE[0]}")/torchrun.sh"
start "$processes" test "$config" "$checkpoint" --launcher pytorch "$@"
