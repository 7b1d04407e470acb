#!/usr/bin/env bash
# Pretrain with several processes of one machine, one per GPU:
#
#     launch/local.sh 8 +variant=mae mix.manifests=[corpus.parquet]                  # ddp
#     launch/local.sh 8 +variant=jepa mix.manifests=[corpus.parquet] runtime=fsdp
#
# The first argument is the number of processes, the rest are options of `surgrec train`. The same command continues
# an interrupted run, also with another number of processes. PYTHON=... chooses the interpreter.
set -euo pipefail

if [[ $# -lt 2 || ! $1 =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: launch/local.sh NUM_PROCESSES +variant=mae|jepa [key=value ...]" >&2
  exit 2
fi
num_processes=$1
shift
[[ " $* " == *" runtime="* ]] || set -- "$@" runtime=ddp

python=${PYTHON:-python}
"$python" -m surgrec.train "$@" --cfg job >/dev/null # a misspelt option is told once, not by every process

export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # else every process starts as many threads as there are cores
exec "$python" -m torch.distributed.run --standalone --nproc-per-node "$num_processes" -m surgrec.train "$@"
