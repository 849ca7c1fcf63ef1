# What slurm_train.sh and slurm_test.sh share: start PARTITION JOB VERB ...
#
# One task for each device. Options in SRUN_ARGS come last, so they replace those here (SRUN_ARGS=--gres=none: no GPU).

start() {
  local partition=$1 job=$2 all=${GPUS:-4} each=${GPUS_PER_NODE:-4}
  shift 2
  if [ "$all" -lt "$each" ]; then
    each=$all
  fi
  # shellcheck disable=SC2086  # SRUN_ARGS are several words
  exec srun --partition="$partition" --job-name="$job" --gres=gpu:"$each" --ntasks="$all" \
    --ntasks-per-node="$each" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u -m seg_engine "$@"
}
