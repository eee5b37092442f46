#!/usr/bin/env bash
# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
#
# Usage: tools/slurm_batch.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of tools/train.py]
#
# Submits a training that outlives its time limit: Slurm sends SIGUSR1 before the
# limit, the run saves a checkpoint, and the job requeues itself and resumes.
#
# Variables (and defaults): GPUS (8), GPUS_PER_NODE (8; 0 for CPU nodes),
# TASKS_PER_NODE (GPUS_PER_NODE), CPUS_PER_TASK (5), SAVE_SECONDS (120: how long
# before the limit), MAX_REQUEUES (20), SBATCH_ARGS (such as --time=24:00:00),
# SRUN_ARGS, PYTHON (python).
set -euo pipefail
if [ $# -lt 4 ]; then
    sed -n '4,12s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
PARTITION=$1
JOB_NAME=$2
CONFIG=$3
WORK_DIR=$4
# shellcheck source=tools/slurm_resources.sh
. "$(dirname "$0")/slurm_resources.sh"
# Slurm runs a copy of the job script, which needs the path of the tools.
TOOLS=$(cd "$(dirname "$0")" && pwd)
export MAX_REQUEUES=${MAX_REQUEUES:-20}
mkdir -p "$WORK_DIR"

# Without "B:", the signal goes to the processes of the training and not to the
# job script. SBATCH_ARGS may contain several arguments, so it is not quoted.
# shellcheck disable=SC2086
exec sbatch -p "$PARTITION" \
    --job-name="$JOB_NAME" \
    "${RESOURCES[@]}" \
    --signal="USR1@${SAVE_SECONDS:-120}" \
    --requeue \
    --open-mode=append \
    --output="$WORK_DIR/slurm-%j.out" \
    ${SBATCH_ARGS:-} \
    "$TOOLS/slurm_job.sh" "$TOOLS" "$CONFIG" --work-dir "$WORK_DIR" "${@:5}"
