#!/usr/bin/env bash
# Measures what becomes of the daemon when more is asked of it than it can do: closed loops with ever more connections,
# then open loops at twice the best rate. See README.md for how to read it.
#
# usage: perf/overload.sh [seconds per row]
# CONNECTIONS: of the closed loops (default "64 128 256 1024 4096"; the first is what the others are compared with);
# WORK, FILE: as for run.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
. perf/lib.sh

SECONDS_EACH=${1:-10}
CONNECTIONS=${CONNECTIONS:-64 128 256 1024 4096}
FILE=${FILE:-perf/results/$(date +%F)-$COMMIT-overload.tsv}
DAEMON_CORES=0
LOAD_CORES=1
BEST=
LOST=0
ulimit -n "$(ulimit -Hn)"

# One row: a fresh daemon, a second to warm up, then the load. Arguments: name, options of load.
row() {
    local name=$1 json load
    shift
    rm -rf "$WORK/log"
    start_sink 127.0.0.1:0
    start_daemon
    load=(target/release/examples/load --target "$TARGET" --origin "$ORIGIN" --json)
    taskset -c "$LOAD_CORES" "${load[@]}" --connections 64 --duration 1 --verify "http://$ORIGIN/-/summary" >/dev/null
    curl -fsS "http://$ORIGIN/-/reset"
    # The end status says whether anything was lost: a row with a loss is written, and then the run fails.
    json=$(taskset -c "$LOAD_CORES" "${load[@]}" --verify "http://$ORIGIN/-/summary" --duration "$SECONDS_EACH" "$@") || LOST=1
    RATE=$(awk -v seconds="$(number seconds "$json")" -v delivered="$(number delivered_by_the_end "$json")" \
        'BEGIN { printf "%.0f", delivered / seconds }')
    BEST=${BEST:-$RATE}
    awk -v name="$name" -v rate="$RATE" -v best="$BEST" -v accepted="$(number acknowledged_per_second "$json")" \
        -v seconds="$(number seconds "$json")" -v acknowledged="$(number acknowledged "$json")" \
        -v by_the_end="$(number delivered_by_the_end "$json")" -v refused="$(number 503 "$json")" \
        -v refusal_p99="$(number refusal_p99 "$json")" -v refusal_max="$(number refusal_max "$json")" \
        -v p50="$(number p50 "$json")" -v p99="$(number p99 "$json")" -v late="$(number after_202_ms_p99 "$json")" \
        -v latest="$(number after_202_ms_max "$json")" -v lost="$(number lost "$json")" \
        -v unanswered="$(number unanswered "$json")" -v rss="$(resident VmHWM)" -v command="load $* --duration $SECONDS_EACH" '
        BEGIN {
            OFS = "\t"
            print name, rate, sprintf("%.2f", rate / best), accepted, acknowledged - by_the_end, p50, p99, late, latest, \
                refused + 0, refusal_p99, refusal_max, lost, unanswered, sprintf("%.1f", rss / 1024), command
        }' | tee -a "$FILE"
    stop
}

build
start_sink 127.0.0.1:0
start_daemon
{
    describe
    echo "# backend: $BACKEND"
    printf 'row\tdelivered/s\tof_best\taccepted/s\tbehind\tp50_ms\tp99_ms\tafter_202_p99_ms\tafter_202_max_ms\trefused\trefusal_p99_ms\trefusal_max_ms\tlost\tunanswered\trss_mb\tcommand\n'
} | tee "$FILE"
stop
for count in $CONNECTIONS; do
    row "closed_$count" --connections "$count"
done
for count in 256 1024; do
    row "open_twice_$count" --connections "$count" --rate "$((BEST * 2))"
done
echo "written to $FILE"
[ "$LOST" -eq 0 ] || { echo "overload.sh: acknowledged messages are missing or damaged" >&2; exit 1; }
