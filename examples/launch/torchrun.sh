# What dist_train.sh and dist_test.sh share: start PROCESSES VERB ...
#
# One machine takes a free port by itself, so that two runs do not meet; PORT chooses one. Several machines meet at
# PORT (29500) of MASTER_ADDR. MAX_RESTARTS is how often killed workers are started again: the run then goes on from its
# newest checkpoint.

start() {
  local processes=$1 nodes=${NNODES:-1} where
  shift
  if [ "$nodes" = 1 ] && [ -z "${PORT:-}" ]; then
    where=(--standalone)
  else
    where=(--nnodes "$nodes" --node-rank "${NODE_RANK:-0}" --master-addr "${MASTER_ADDR:-127.0.0.1}"
      --master-port "${PORT:-29500}")
  fi
  exec "${PYTHON:-python}" -m torch.distributed.run "${where[@]}" --nproc-per-node "$processes" \
    --max-restarts "${MAX_RESTARTS:-0}" -m seg_engine "$@"
}
