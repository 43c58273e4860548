#!/usr/bin/env bash
# A private SLURM on this host, for tests: a controller and two nodes on loopback, n2 with what passes for a GPU.
#   slurm.sh install            Debian's slurm-wlm and munge, where they are missing
#   slurm.sh up FOLDER          start it; its state, logs and the record of its jobs (jobs.txt) go to FOLDER
#   slurm.sh controller FOLDER  start the controller again after it was killed
#   slurm.sh down FOLDER        stop it, and take its configuration away
# The configuration must be in /etc/slurm (jobs look there), so a host that has a cluster's is left alone.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
etc=/etc/slurm
stop() { echo "$1" >&2; exit 1; }

possible() {
    [ "$(id -u)" = 0 ] || stop "a private SLURM needs root"
    [ -e $etc/slurm.conf ] || return 0
    folder=$(sed -n 's|^StateSaveLocation=\(.*\)/private/state$|\1|p' $etc/slurm.conf)
    [ -z "$folder" ] || stop "a private SLURM is up, or was left behind; take it down with: $0 down $folder"
    stop "$etc/slurm.conf is there: this host belongs to a cluster"
}

install() {
    possible
    command -v slurmctld >/dev/null && command -v munged >/dev/null && return
    command -v apt-get >/dev/null || stop "SLURM is not installed, and there is no apt-get"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends slurm-wlm munge; } >/dev/null 2>&1 ||
        stop "apt-get could not install slurm-wlm and munge"
}

up() {
    possible
    mkdir -p "$1/private/state"
    sed -e "s|@HOST@|$(hostname -s)|; s|@FOLDER@|$1|" "$here/slurm.conf" >$etc/slurm.conf
    echo "NodeName=n2 Name=gpu Count=1 File=/dev/null" >$etc/gres.conf
    echo "CgroupAutomount=no" >$etc/cgroup.conf
    if ! munge -n >/dev/null 2>&1; then
        mkdir -p /run/munge && chown munge:munge /run/munge
        runuser -u munge -- munged
    fi
    controller "$1"
    for node in n1 n2; do slurmd -N $node; done
    for _ in $(seq 120); do
        [ "$(sinfo -h -N -p main -t idle -o %N 2>/dev/null | wc -l)" = 2 ] && return
        sleep 0.25
    done
    stop "the nodes are not idle after 30 s; see $1/*.log"
}

controller() {
    slurmctld
    for _ in $(seq 60); do scontrol ping 2>/dev/null | grep -q UP && return; sleep 0.25; done
    stop "the controller does not answer; see $1/slurmctld.log"
}

down() {
    timeout 10 scancel --user root 2>/dev/null || true
    for daemon in slurmctld slurmd.n1 slurmd.n2; do
        pid=$(cat "$1/$daemon.pid" 2>/dev/null) && kill "$pid" 2>/dev/null || true
    done
    rm -f $etc/slurm.conf $etc/gres.conf $etc/cgroup.conf
}

"$@"
