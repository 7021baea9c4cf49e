#!/usr/bin/env bash
# Shows what a write of the log waits for: how long the disk takes for each of its steps, and how long each step waits for a
# kernel thread to begin it. See README.md for how to read it.
#
# usage: perf/commit.sh [connections] [seconds]
# Needs perf, python3 and the right to see tracepoints (root). RATE: messages per second instead of a closed loop; WORK, FILE: as
# for run.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
. perf/lib.sh

CONNECTIONS=${1:-64}
SECONDS_EACH=${2:-2}
FILE=${FILE:-perf/results/$(date +%F)-$COMMIT-commit.tsv}
DAEMON_CORES=0
LOAD_CORES=1

build
rm -rf "$WORK/log"
start_sink 127.0.0.1:0
start_daemon CORES=1
load=(taskset -c "$LOAD_CORES" target/release/examples/load --target "$TARGET" --origin "$ORIGIN" --json)
"${load[@]}" --connections 64 --duration "$WARM_UP" >/dev/null
"${load[@]}" --connections "$CONNECTIONS" ${RATE:+--rate "$RATE"} --duration $((SECONDS_EACH + 3)) >"$WORK/load.json" &
BESIDE=$!
sleep 1
# Of the whole machine: the kernel's threads are what is looked for.
perf record --quiet --all-cpus --output "$WORK/commit.data" --event block:block_rq_issue,block:block_rq_complete \
    --event sched:sched_switch -- sleep "$SECONDS_EACH" >/dev/null 2>&1
wait "$BESIDE"
BESIDE=
stop
{
    describe
    echo "# log's segments are files of a disk whose cache is: $(cat "$(disk_directory)/queue/write_cache" 2>/dev/null || echo unknown)"
    echo "# load --connections $CONNECTIONS${RATE:+ --rate $RATE}: 202 after p50 $(number p50 "$(cat "$WORK/load.json")") ms"
    perf script --input "$WORK/commit.data" --fields comm,pid,cpu,time,event,trace 2>/dev/null | perf/commit/steps.py
} | tee "$FILE"
echo "written to $FILE"
