#!/usr/bin/env bash
# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# stop-slurm.sh FOLDER: end what start-slurm.sh started, by the process ids it left there.
set -euo pipefail

folder=$1
mapfile -t jobs < <(timeout 5 squeue -h -o %A || true)
if ((${#jobs[@]} > 0)); then
    timeout 10 scancel "${jobs[@]}" || true
    sleep 3
fi
for daemon in slurmd slurmctld munged; do
    id=$(cat "$folder/run/$daemon.pid" 2>/dev/null || true)
    if [[ -n $id && $(cat "/proc/$id/comm" 2>/dev/null) == "$daemon" ]]; then
        kill "$id"
        for _ in {1..100}; do
            [[ -e /proc/$id ]] || break
            sleep 0.1
        done
    fi
done
