#!/usr/bin/env bash
# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# run.sh SNAKEMAKE [ARGUMENT]...: run Snakemake so that a run after any kill goes on.
#
# Snakemake killed with -9 leaves its folder locked and its jobs at work. The lock file
# tells the next run of both:
#  - It is this script's standard input, which Snakemake and its jobs inherit, and with
#    it the lock. Who gets the lock is alone; who does not finds the holders in /proc.
#  - It holds this script's process id until Snakemake has ended by itself. Who gets the
#    lock and finds an id knows that the run before was killed.
# Jobs left behind are ended: solving goes on from its journal, where they stopped.
set -euo pipefail

lock=.make.lock

# holders: the processes whose standard input is the lock file, but for this one.
holders() {
    local input process
    for input in /proc/[0-9]*/fd/0; do
        process=${input#/proc/}
        process=${process%/fd/0}
        if [[ $process != "$$" && $input -ef $lock ]]; then
            echo "$process"
        fi
    done
}

exec <>"$lock"
if ! flock --nonblock 0; then
    master=$(<"$lock")
    mapfile -t found < <(holders)
    if [[ " ${found[*]} " == *" $master "* ]]; then
        echo "Another run is under way here (process $master); waiting for its end." >&2
    else
        echo "Ending jobs that a killed run left behind: ${found[*]}" >&2
        kill "${found[@]}" 2>/dev/null || true
    fi
    flock 0
fi
if [[ -s $lock ]]; then
    echo "The run before was killed; going on from what it left." >&2
    "$1" --unlock --quiet all >/dev/null
fi
echo $$ >"$lock"
status=0
"$@" || status=$?
# Above 128: ended by a signal, so the mark stays.
if ((status < 128)); then
    : >"$lock"
fi
exit "$status"
