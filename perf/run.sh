#!/usr/bin/env bash
# Measures the whole path on this machine: load generator -> dispatcher -> sink. See README.md for how to read it.
#
# usage: perf/run.sh [seconds per row]
# WORK: where the log is (default perf/work, on this disk); FILE: where the results go.
set -euo pipefail
cd "$(dirname "$0")/.."

. perf/lib.sh

SECONDS_EACH=${1:-10}
FILE=${FILE:-perf/results/$(date +%F)-$COMMIT.tsv}
# The daemon alone on one core; what measures it on another.
DAEMON_CORES=0
LOAD_CORES=1

start() {
    rm -rf "$WORK/log"
    start_sink 127.0.0.1:0
    start_daemon
}

# One row: a fresh daemon, a second to warm up, then the load. Arguments: name, options of load.
row() {
    local name=$1 command json cpu disk rss delivered
    shift
    start
    local load=(target/release/examples/load --target "$TARGET" --origin "$ORIGIN" --json)
    taskset -c "$LOAD_CORES" "${load[@]}" --connections 64 --duration 1 --verify "http://$ORIGIN/-/summary" >/dev/null
    curl -fsS "http://$ORIGIN/-/reset"
    cpu=$(cpu_ticks)
    disk=$(write_bytes)
    # The end status says whether anything was lost: a row with a loss is written, and then the run fails.
    json=$(taskset -c "$LOAD_CORES" "${load[@]}" --verify "http://$ORIGIN/-/summary" --duration "$SECONDS_EACH" "$@") || LOST=1
    cpu=$(($(cpu_ticks) - cpu))
    disk=$(($(write_bytes) - disk))
    rss=$(resident VmHWM)
    delivered=$(number delivered "$json")
    command="load $* --duration $SECONDS_EACH"
    awk -v name="$name" -v seconds="$(number seconds "$json")" -v waited="$(number waited_seconds "$json")" \
        -v acknowledged="$(number acknowledged "$json")" -v delivered="$delivered" -v lost="$(number lost "$json")" \
        -v duplicates="$(number duplicates "$json")" -v unanswered="$(number unanswered "$json")" \
        -v cpu_us="$((cpu * 1000000 / USER_HZ))" -v disk="$disk" -v rss="$rss" -v p50="$(number p50 "$json")" \
        -v p99="$(number p99 "$json")" -v p999="$(number 'p99\.9' "$json")" -v max="$(number max "$json")" \
        -v command="$command" 'BEGIN {
            OFS = "\t"
            each = delivered > 0 ? delivered : 1
            print name, sprintf("%.0f", delivered / (seconds + waited)), sprintf("%.1f", cpu_us / each), p50, p99, p999, \
                max, sprintf("%.1f", rss / 1024), sprintf("%.0f", disk / each), acknowledged, delivered, lost, duplicates, \
                unanswered, command
        }' | tee -a "$FILE"
    stop
}

header() {
    describe
    echo "# backend: $BACKEND"
    printf 'row\tdone/s\tcpu_us/message\tp50_ms\tp99_ms\tp99.9_ms\tmax_ms\trss_mb\tdisk_bytes/message\tacknowledged\tdelivered\tlost\tduplicates\tunanswered\tcommand\n'
}

build
LOST=0
start
header | tee "$FILE"
stop
row closed_64 --connections 64 --body 1024
row open_200 --connections 64 --body 1024 --rate 200
row open_5000 --connections 64 --body 1024 --rate 5000
echo "written to $FILE"
[ "$LOST" -eq 0 ] || { echo "run.sh: acknowledged messages are missing or damaged" >&2; exit 1; }
