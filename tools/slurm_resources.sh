# shellcheck shell=bash
# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
#
# Sets RESOURCES, the resources that the slurm_*.sh scripts ask for.
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-8}
TASKS_PER_NODE=${TASKS_PER_NODE:-$((GPUS_PER_NODE > 0 ? GPUS_PER_NODE : 1))}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
RESOURCES=(
    --ntasks="$GPUS"
    --ntasks-per-node="$TASKS_PER_NODE"
    --cpus-per-task="${CPUS_PER_TASK:-5}"
)
if [ "$GPUS_PER_NODE" -gt 0 ]; then
    RESOURCES=(--gres="gpu:$GPUS_PER_NODE" "${RESOURCES[@]}")
fi
