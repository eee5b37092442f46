#!/usr/bin/env bash
# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
#
# Usage: tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
#
# GPUS is the number of processes on this machine. Without a GPU, they run on the
# CPU with gloo. For several machines, run the same command on each of them and
# set NNODES, NODE_RANK, MASTER_ADDR and PORT in the environment. If a process
# fails, all are started again MAX_RESTARTS times (0), and resume.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '4,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
exec "$(dirname "$0")/dist_run.sh" train.py "$2" "$1" "${@:3}"
