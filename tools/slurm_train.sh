#!/usr/bin/env bash
# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
#
# Usage: tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of tools/train.py]
#
# Runs in the foreground. It saves a checkpoint before the time limit;
# slurm_batch.sh also requeues the job then.
#
# Variables (and defaults): GPUS (8), GPUS_PER_NODE (8; 0 for CPU nodes),
# TASKS_PER_NODE (GPUS_PER_NODE), CPUS_PER_TASK (5), SAVE_SECONDS (120: how long
# before the limit), SRUN_ARGS, PYTHON (python).
set -euo pipefail
if [ $# -lt 4 ]; then
    sed -n '4,11s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
exec "$(dirname "$0")/slurm_run.sh" "$1" "$2" train.py "$3" --work-dir "$4" "${@:5}"
