#!/usr/bin/env bash
# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
#
# Start SCRIPT in several processes; dist_train.sh and dist_test.sh call this.
# Usage: tools/dist_run.sh SCRIPT PROCESSES [arguments of SCRIPT]
set -euo pipefail
SCRIPT=$1
PROCESSES=$2
PYTHON=${PYTHON:-python}
NNODES=${NNODES:-1}
NODE_RANK=${NODE_RANK:-0}
MASTER_ADDR=${MASTER_ADDR:-127.0.0.1}

if ! [[ $PROCESSES =~ ^[1-9][0-9]*$ ]]; then
    echo "error: the number of processes must be 1 or more, not '$PROCESSES'" >&2
    exit 2
fi
if [ -z "${PORT:-}" ]; then
    if [ "$NNODES" = 1 ]; then
        # Choose a free port, because several jobs can share a machine.
        PORT=$("$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    else
        PORT=29500 # all machines must use the same port
    fi
fi
if [ -z "${OMP_NUM_THREADS:-}" ]; then
    # torchrun would set 1; divide the cores among the processes instead.
    CORES=$("$PYTHON" -c 'import os; print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)')
    OMP_NUM_THREADS=$((CORES / PROCESSES > 0 ? CORES / PROCESSES : 1))
    export OMP_NUM_THREADS
fi

exec "$PYTHON" -m torch.distributed.run \
    --nnodes="$NNODES" \
    --node_rank="$NODE_RANK" \
    --master_addr="$MASTER_ADDR" \
    --master_port="$PORT" \
    --nproc_per_node="$PROCESSES" \
    --max-restarts="${MAX_RESTARTS:-0}" \
    "$(dirname "$0")/$SCRIPT" "${@:3}" --launcher pytorch
