#!/usr/bin/env bash
# Train on the devices of this machine, or of several: bash dist_train.sh CONFIG GPUS [options of seg train]
#
# On several machines, run it on each of them with NNODES, NODE_RANK (0, 1, ...) and MASTER_ADDR (that of number 0) set.
# Variables: NNODES NODE_RANK MASTER_ADDR PORT MAX_RESTARTS PYTHON
set -euo pipefail

if [ $# -lt 2 ]; then
  echo "usage: bash dist_train.sh CONFIG GPUS [options of seg train]" >&2
  exit 2
fi
config=$1
processes=$2
shift 2

. "$(dirname "${BASH_SOURCE[0]}")/torchrun.sh"
start "$processes" train "$config" --launcher pytorch "$@"
