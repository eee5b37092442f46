#!/usr/bin/env bash
# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
#
# The job that slurm_batch.sh submits.
# Usage: slurm_job.sh TOOLS CONFIG --work-dir WORK_DIR [options of tools/train.py]
#
# It requeues itself if the training has ended by SIGUSR1 (status 138), which
# Slurm sends before the time limit. Other ends are final: scancel sends SIGTERM.
set -uo pipefail
TOOLS=$1
REQUEUES=${SLURM_RESTART_COUNT:-0}
SAVED=138 # 128 + SIGUSR1

# Since Slurm 22.05, srun does not take this number from sbatch. SRUN_ARGS may
# contain several arguments, so it is not quoted.
# shellcheck disable=SC2086
srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$TOOLS/train.py" "${@:2}" --resume --launcher slurm
STATUS=$?

if [ "$STATUS" -ne "$SAVED" ]; then
    exit "$STATUS"
fi
if [ "$REQUEUES" -ge "${MAX_REQUEUES:-20}" ]; then
    echo "error: the job was requeued $REQUEUES times (MAX_REQUEUES=${MAX_REQUEUES:-20}); submit it again to continue" >&2
    exit "$STATUS"
fi
echo "The training has saved a checkpoint before the time limit; requeue $((REQUEUES + 1)) of at most ${MAX_REQUEUES:-20}."
scontrol requeue "$SLURM_JOB_ID" || exit "$STATUS"
