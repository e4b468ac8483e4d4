#!/usr/bin/env bash
# A real Slurm of two nodes, n1 and n2, on this one machine, for tests: not for work. Needs root and Debian's packages.
set -euo pipefail

usage() {
    echo "Usage: start_test_slurm.sh start|stop|status|kill-node|start-node|install [--folder DIR] [--install true] [--node n2]
start       starts munged, slurmctld and two slurmd; everything lies in DIR [/tmp/sslsv_test_slurm]; prints SLURM_CONF
stop        ends all that start began, and all its jobs; removes DIR
status      shows the nodes
kill-node   ends a node (--node) and all that runs on it, as when a machine dies
start-node  starts it again
install     installs the packages, if they are missing, and starts nothing
--install true: missing packages (slurm-wlm, munge) are installed with apt-get"
}
fail() { echo "start_test_slurm.sh: $1" >&2 && exit "${2:-1}"; }

# Options
action=${1:-}
folder=/tmp/sslsv_test_slurm # everything of this cluster
install=false                # install missing packages with apt-get?
node=n2                      # of kill-node and start-node
# End of options
[ $# -eq 0 ] || shift
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || fail "$1 needs a value" 2
    case $1 in
        --folder) folder=$2 ;;
        --install) install=$2 ;;
        --node) node=$2 ;;
        *) fail "unknown option $1" 2 ;;
    esac
    shift 2
done
[[ $node =~ ^n[12]$ ]] || fail "--node takes n1 or n2, found '$node'" 2
[[ $folder == /*/* && $folder != *[[:space:],%]* ]] || fail "--folder: expected an absolute path without blanks, commas and per cent signs, found '$folder'" 2
export SLURM_CONF=$folder/slurm.conf
daemons=(slurmd.n1 slurmd.n2 slurmctld munged) # in the order in which they are ended
host=$(hostname -s)

programs() {
    local program missing=()
    for program in munged slurmctld slurmd sbatch; do
        PATH=$PATH:/usr/sbin command -v "$program" >/dev/null || missing+=("$program")
    done
    [ ${#missing[@]} -eq 0 ] && return
    "$install" || fail "${missing[*]} missing. Install with: apt-get install slurm-wlm munge (or --install true)"
    # The packages start daemons of their own where there is a service manager: not wanted here.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    apt-get install -y slurm-wlm munge >/dev/null || { apt-get update >/dev/null && apt-get install -y slurm-wlm munge >/dev/null; }
}

free_port() { # free_port FIRST: the first port from FIRST upwards that nobody listens to
    python3 -c 'import socket, sys
for port in range(int(sys.argv[1]), 65536):
    with socket.socket() as attempt:
        if attempt.connect_ex(("127.0.0.1", port)):
            print(port)
            break' "$1"
}

write_conf() {
    local control first second
    control=$(free_port 16817)
    first=$(free_port $((control + 1)))
    second=$(free_port $((first + 1)))
    # A node that is silent for 10 s is down. A job that goes back into the queue may begin again after cred_expire.
    # Without cgroups the daemon itself looks after memory (OverMemoryKill). Nodes claim more cores than there are.
    cat >"$SLURM_CONF" <<CONF
ClusterName=sslsv_test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$control
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd.%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=8000
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
SlurmdTimeout=10
KillWait=5
MessageTimeout=10
InactiveLimit=0
SchedulerParameters=bf_interval=2,sched_interval=2
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$first CPUs=8 RealMemory=64000 State=UNKNOWN
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$second CPUs=8 RealMemory=64000 State=UNKNOWN
PartitionName=test Nodes=n1,n2 Default=YES MaxTime=INFINITE PriorityTier=1
PartitionName=urgent Nodes=n1,n2 MaxTime=INFINITE PriorityTier=2
CONF
}

pid_of() { # pid_of DAEMON: its process, if it still is one of this cluster
    local pid
    pid=$(cat "$folder/run/$1.pid" 2>/dev/null) || return 1
    [[ $pid =~ ^[0-9]+$ && $(cat "/proc/$pid/comm" 2>/dev/null) == "${1%%.*}" ]] && echo "$pid"
}

end_process() { # end_process PID SIGNAL: and wait until it has gone
    kill "-$2" "$1" 2>/dev/null || return 0
    for _ in {1..50}; do
        kill -0 "$1" 2>/dev/null || return 0
        [ "$(awk '/^State/ {print $2}' "/proc/$1/status" 2>/dev/null)" != Z ] || return 0
        sleep 0.1
    done
    kill -KILL "$1" 2>/dev/null || true
}

job_processes() { # job_processes LINE: processes of this cluster's jobs with this line in their environment
    local process environment
    for process in /proc/[0-9]*; do
        environment=$({ tr '\0' '\n' <"$process/environ"; } 2>/dev/null) || continue
        ! grep -qxF "SLURM_CONF=$SLURM_CONF" <<<"$environment" || ! grep -qxF "$1" <<<"$environment" ||
            echo "${process#/proc/}"
    done
}

end_jobs_of() { # end_jobs_of NODE: the daemons of its job steps first, so that they cannot say how their jobs ended
    local pid parent parents
    local -a pids
    for _ in {1..20}; do
        mapfile -t pids < <(job_processes "SLURMD_NODENAME=$1")
        [ ${#pids[@]} -gt 0 ] || return 0
        parents=()
        for pid in "${pids[@]}"; do
            parent=$(awk '/^PPid/ {print $2}' "/proc/$pid/status" 2>/dev/null) || continue
            [ "$(cat "/proc/$parent/comm" 2>/dev/null)" != slurmstepd ] || parents+=("$parent")
        done
        kill -KILL "${parents[@]}" "${pids[@]}" 2>/dev/null || true
    done
}

start_node() { PATH=$PATH:/usr/sbin slurmd -N "$1"; }

wait_for_nodes() {
    for _ in {1..150}; do
        [ "$(sinfo --noheader --Node --partition=test --format='%T' 2>/dev/null | grep -cE '^(idle|mixed|allocated)$')" != 2 ] || return 0
        sleep 0.2
    done
    fail "the nodes did not come up in 30 s, see $folder/log"
}

start() {
    [ "$(id -u)" -eq 0 ] || fail "needs root: slurmd starts jobs as their users"
    [ ! -e "$folder" ] || fail "$folder is there already: stop it first (start_test_slurm.sh stop --folder $folder)"
    programs
    mkdir -p "$folder"/{munge,state,spool/n1,spool/n2,run,log}
    (umask 077 && head -c 128 /dev/urandom >"$folder/munge/key")
    PATH=$PATH:/usr/sbin munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
        --pid-file="$folder/run/munged.pid" --seed-file="$folder/munge/seed" --log-file="$folder/log/munged.log" \
        >>"$folder/log/munged.log" 2>&1
    write_conf
    PATH=$PATH:/usr/sbin slurmctld
    start_node n1
    start_node n2
    wait_for_nodes
    echo "export SLURM_CONF=$SLURM_CONF"
}

stop() {
    [ -e "$SLURM_CONF" ] || fail "$folder: there is no such cluster"
    local daemon pid
    timeout 10 scancel --state=PENDING --quiet 2>/dev/null || true
    for daemon in "${daemons[@]}"; do
        [ "$daemon" != slurmctld ] || { end_jobs_of n1 && end_jobs_of n2; }
        pid=$(pid_of "$daemon") || continue
        end_process "$pid" TERM
    done
    rm -rf "$folder"
}

kill_node() {
    local pid
    pid=$(pid_of "slurmd.$node") || fail "node $node is not running"
    end_process "$pid" KILL
    end_jobs_of "$node"
}

case $action in
    start) start ;;
    install) install=true && programs ;;
    stop) stop ;;
    status) sinfo --Node ;;
    kill-node) kill_node ;;
    start-node) start_node "$node" && wait_for_nodes ;;
    --help | -h) usage ;;
    *) usage >&2 && exit 2 ;;
esac
