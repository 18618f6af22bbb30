#!/usr/bin/env bash
# A cluster of one node in a folder: Slurm, PostgreSQL and an MLflow server that keeps its files.
#   scripts/cluster.sh start FOLDER | stop FOLDER | database FOLDER stop|start | server FOLDER
# Needs (Debian's names): postgresql, slurm-wlm, munge, and psycopg2-binary beside xai-exp[slurm].
# For trials only: no passwords, everything listens on this machine alone.
set -euo pipefail

what=${1:?start, stop or database} place=$(realpath -m "${2:?a folder}")
python=${PYTHON:-.venv/bin/python}
postgres=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
database_port=${DATABASE_PORT:-15432} mlflow_port=${MLFLOW_PORT:-15000}

as_database() {  # PostgreSQL does not run as root
  if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi
}

database() {
  as_database "$postgres/pg_ctl" -D "$place/database" -w -t 60 -l "$place/database.log" \
    -o "-p $database_port -c listen_addresses=127.0.0.1 -c unix_socket_directories=/tmp" "$@" > /dev/null
}

begin() {
  mkdir -p "$place/slurm/state" "$place/slurm/spool" "$place/files"
  chmod 711 "$place"
  if [ ! -e "$place/database" ]; then
    install -d "$place/database"
    touch "$place/database.log"
    if [ "$(id -u)" = 0 ]; then chown postgres "$place/database" "$place/database.log"; fi
    as_database "$postgres/initdb" -D "$place/database" -A trust -U xai > /dev/null
  fi
  database start
  for name in sweep mlflow; do
    as_database "$postgres/createdb" -h 127.0.0.1 -p "$database_port" -U xai "$name" 2> /dev/null || true
  done
  server
  slurm
}

server() {
  setsid "$python" -m mlflow server --host 127.0.0.1 --port "$mlflow_port" --workers 1 \
    --backend-store-uri "postgresql+psycopg2://xai@127.0.0.1:$database_port/mlflow" \
    --artifacts-destination "$place/files" --serve-artifacts > "$place/mlflow.log" 2>&1 &
  echo $! > "$place/mlflow.pid"
}

slurm() {
  local name=$(hostname -s)
  ( umask 077; head -c 128 /dev/urandom > "$place/slurm/key" )
  munged --force --socket="$place/slurm/munge" --key-file="$place/slurm/key" --num-threads=2 \
    --pid-file="$place/slurm/munged.pid" --log-file="$place/slurm/munged.log" --seed-file="$place/slurm/seed"
  cat > "$place/slurm/slurm.conf" <<CONF
ClusterName=one
SlurmctldHost=$name(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthInfo=socket=$place/slurm/munge
SlurmctldPort=${SLURM_PORT:-16817}
SlurmdPort=$((${SLURM_PORT:-16817} + 1))
StateSaveLocation=$place/slurm/state
SlurmdSpoolDir=$place/slurm/spool
SlurmctldPidFile=$place/slurm/slurmctld.pid
SlurmdPidFile=$place/slurm/slurmd.pid
SlurmctldLogFile=$place/slurm/slurmctld.log
SlurmdLogFile=$place/slurm/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobRequeue=1
MinJobAge=300
ReturnToService=2
NodeName=$name NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$(($(free -m | awk '/^Mem/ {print $2}') / 2)) State=UNKNOWN
PartitionName=all Nodes=$name Default=YES MaxTime=INFINITE State=UP
CONF
  export SLURM_CONF=$place/slurm/slurm.conf
  slurmctld
  slurmd
}

end() {
  local pid
  for pid in slurm/slurmd slurm/slurmctld slurm/munged mlflow; do
    if [ -s "$place/$pid.pid" ]; then kill -- "$(cat "$place/$pid.pid")" 2> /dev/null || true; fi
  done
  if [ -e "$place/database/postmaster.pid" ]; then database -m immediate stop; fi
}

case $what in
  start) begin ;;
  stop) end ;;
  database) if [ "${3:-}" = stop ]; then database -m immediate stop; else database start; fi ;;
  server) kill -9 -- "-$(cat "$place/mlflow.pid")"; sleep 5; server ;;
  *) echo "error: got $what; allowed: start, stop, database, server" >&2; exit 1 ;;
esac
