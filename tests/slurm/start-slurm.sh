#!/usr/bin/env bash
# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# start-slurm.sh FOLDER: start Debian's Slurm on this machine alone, as root and without
# systemd, with its state in FOLDER. For test machines: /etc/slurm/slurm.conf is written.
# Daemons listen on the loopback interface; stop-slurm.sh FOLDER ends them.
set -euo pipefail

folder=$1
node=$(hostname -s)

# until_ SECONDS COMMAND...: wait until the command succeeds.
until_() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= deadline)); then
            echo "start-slurm: no success in time: $*" >&2
            tail -n 20 "$folder"/log/*.log >&2 || true
            exit 1
        fi
        sleep 0.2
    done
}

node_is_idle() { [[ $(sinfo -h -n "$node" -o %T) == idle ]]; }

if ! command -v slurmctld slurmd munged >/dev/null; then
    # RUNLEVEL=1 keeps the packages from starting daemons of their own.
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    apt-get -qq update
    apt-get -qq install --no-install-recommends munge slurm-client slurmctld slurmd >/dev/null
fi

# The daemons bind to the address of the host's name.
if [[ $(getent ahostsv4 "$node" | awk 'NR == 1 { print $1 }') != 127.* ]]; then
    echo "start-slurm: $node must be an address of the loopback interface" >&2
    exit 1
fi

install -d -m 0755 "$folder" "$folder/spool" /etc/slurm
install -d -m 0755 -o slurm -g slurm "$folder/run" "$folder/log" "$folder/state"
cat >/etc/slurm/slurm.conf <<CONF
ClusterName=test
SlurmctldHost=$node(127.0.0.1)
SlurmUser=slurm
AuthType=auth/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# The MPICH of the wheel speaks pmi2; with \`none\` each process would be alone.
MpiDefault=pmi2
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerParameters=batch_sched_delay=1,sched_interval=5,bf_interval=2
KillWait=2
CompleteWait=0
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/none
NodeName=$node NodeAddr=127.0.0.1 CPUs=4 RealMemory=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo) State=UNKNOWN
PartitionName=main Nodes=$node Default=YES MaxTime=UNLIMITED DefMemPerCPU=500 State=UP
CONF

install -d -m 0755 -o munge -g munge /run/munge
if [[ ! -s /etc/munge/munge.key ]]; then
    install -m 0400 -o munge -g munge /dev/null /etc/munge/munge.key
    head -c 128 /dev/urandom >/etc/munge/munge.key
fi
if ! munge -n 2>/dev/null | unmunge >/dev/null 2>&1; then
    runuser -u munge -- munged --force
    until_ 10 sh -c 'munge -n | unmunge'
    cp /run/munge/munged.pid "$folder/run/munged.pid"
fi
slurmctld -c # forget the jobs of an earlier run
until_ 20 scontrol ping
slurmd
until_ 60 node_is_idle
