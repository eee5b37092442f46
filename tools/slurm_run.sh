#!/usr/bin/env bash
# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
#
# Start SCRIPT with Slurm; slurm_train.sh and slurm_test.sh call this.
# Usage: tools/slurm_run.sh PARTITION JOB_NAME SCRIPT [arguments of SCRIPT]
set -euo pipefail
PARTITION=$1
JOB_NAME=$2
SCRIPT=$3
# shellcheck source=tools/slurm_resources.sh
. "$(dirname "$0")/slurm_resources.sh"

# A training saves on this signal, and can then be resumed.
SIGNAL=()
if [ "$SCRIPT" = train.py ]; then
    SIGNAL=(--signal="USR1@${SAVE_SECONDS:-120}")
fi

# SRUN_ARGS may contain several arguments, so it is not quoted.
# shellcheck disable=SC2086
exec srun -p "$PARTITION" \
    --job-name="$JOB_NAME" \
    "${RESOURCES[@]}" \
    ${SIGNAL[@]+"${SIGNAL[@]}"} \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$(dirname "$0")/$SCRIPT" "${@:4}" --launcher slurm
