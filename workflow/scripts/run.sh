#!/usr/bin/env bash
# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# run.sh SNAKEMAKE [ARGUMENT]...: run Snakemake so that a run after any kill goes on.
#
# Snakemake killed with -9 leaves a locked folder, and its jobs, which go on alone.
# Two facts tell the next run what happened:
#  - The lock file is this script's standard input, which Snakemake and its jobs
#    inherit, and with it the lock: who gets the lock is alone, orphans included.
#  - The lock file holds a word while a run is under way: who gets the lock and finds
#    the word knows that the run before was killed, and may unlock its folder.
set -euo pipefail

lock=.make.lock
exec <>"$lock"
if ! flock --nonblock 0; then
    echo "Another run is under way here, or jobs of a killed one; waiting for its end." >&2
    flock 0
fi
if [[ -s $lock ]]; then
    echo "The run before was killed; going on from what it left." >&2
    "$1" --unlock --quiet all
fi
echo running >"$lock"
status=0
"$@" || status=$?
: >"$lock"
exit "$status"
