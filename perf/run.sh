#!/usr/bin/env bash
# Measures the whole path on this machine: load generator -> dispatcher -> sink. See README.md for how to read it.
#
# usage: perf/run.sh [seconds per row]
# WORK: where the log is (default perf/work, on this disk); FILE: where the results go.
set -euo pipefail
cd "$(dirname "$0")/.."

SECONDS_EACH=${1:-10}
WORK=${WORK:-perf/work}
COMMIT=$(git rev-parse --short HEAD)$(git diff --quiet HEAD -- src || echo -dirty)
FILE=${FILE:-perf/results/$(date +%F)-$COMMIT.tsv}
# The daemon alone on one core; what measures it on another.
DAEMON_CORE=0
LOAD_CORE=1
USER_HZ=$(getconf CLK_TCK)

DAEMON=
SINK=
stop() {
    for pid in $DAEMON $SINK; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    DAEMON=
    SINK=
}
trap stop EXIT

# Waits up to ten seconds for a line of $1 that matches $2, and prints what $3 (sed) makes of it.
await() {
    for _ in $(seq 200); do
        if grep -q "$2" "$1" 2>/dev/null; then
            sed -n "$3" "$1" | head -n 1
            return
        fi
        sleep 0.05
    done
    echo "run.sh: nothing in $1 says $2:" >&2
    tail -n 5 "$1" >&2
    return 1
}

start() {
    rm -rf "$WORK/log"
    mkdir -p "$WORK"
    taskset -c "$LOAD_CORE" target/release/examples/sink --listen 127.0.0.1:0 >"$WORK/sink.out" &
    SINK=$!
    ORIGIN=$(await "$WORK/sink.out" '^listening' 's/^listening //p')
    env TRANSACTION_LOG="$WORK/log" LISTEN=127.0.0.1:0 ADMIN_LISTEN=127.0.0.1:0 LOG_FORMAT=json \
        taskset -c "$DAEMON_CORE" target/release/dispatcher 2>"$WORK/daemon.out" &
    DAEMON=$!
    TARGET=$(await "$WORK/daemon.out" '"message":"listening"' 's/.*"message":"listening".*"listen":"\([^"]*\)".*/\1/p')
    BACKEND=$(sed -n 's/.*"message":"listening".*"backend":"\([^"]*\)".*/\1/p' "$WORK/daemon.out" | head -n 1)
}

# CPU ticks of the daemon, its threads that ended included. The fields are counted behind the command's parenthesis.
cpu_ticks() {
    sed 's/.*) //' "/proc/$DAEMON/stat" | awk '{ print $12 + $13 }'
}

write_bytes() {
    awk '/^write_bytes/ { print $2 }' "/proc/$DAEMON/io"
}

number() {
    sed -n "s/.*\"$1\":\([0-9.e+-]*\).*/\1/p" <<<"$2"
}

# One row: a fresh daemon, a second to warm up, then the load. Arguments: name, options of load.
row() {
    local name=$1 command json cpu disk rss delivered
    shift
    start
    local load=(target/release/examples/load --target "$TARGET" --origin "$ORIGIN" --json)
    taskset -c "$LOAD_CORE" "${load[@]}" --connections 64 --duration 1 --verify "http://$ORIGIN/-/summary" >/dev/null
    curl -fsS "http://$ORIGIN/-/reset"
    cpu=$(cpu_ticks)
    disk=$(write_bytes)
    # The end status says whether anything was lost: a row with a loss is written, and then the run fails.
    json=$(taskset -c "$LOAD_CORE" "${load[@]}" --verify "http://$ORIGIN/-/summary" --duration "$SECONDS_EACH" "$@") || LOST=1
    cpu=$(($(cpu_ticks) - cpu))
    disk=$(($(write_bytes) - disk))
    rss=$(awk '/^VmHWM/ { print $2 }' "/proc/$DAEMON/status")
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
    local device
    device=$(df --output=source "$WORK" | tail -n 1)
    echo "# date: $(date -u +%FT%TZ)"
    echo "# commit: $COMMIT"
    echo "# kernel: $(uname -r)"
    echo "# cpu: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores; daemon on core $DAEMON_CORE, load and sink on core $LOAD_CORE"
    echo "# disk: $(df --output=source,fstype "$WORK" | tail -n 1 | tr -s ' '), $(lsblk -ndo MODEL,SIZE "$device" 2>/dev/null | tr -s ' ' || echo 'unknown device')"
    echo "# backend: $BACKEND"
    printf 'row\tdone/s\tcpu_us/message\tp50_ms\tp99_ms\tp99.9_ms\tmax_ms\trss_mb\tdisk_bytes/message\tacknowledged\tdelivered\tlost\tduplicates\tunanswered\tcommand\n'
}

cargo build --release --locked --bin dispatcher --example load --example sink
mkdir -p "$WORK" perf/results
LOST=0
start
header | tee "$FILE"
stop
row closed_64 --connections 64 --body 1024
row open_200 --connections 64 --body 1024 --rate 200
row open_5000 --connections 64 --body 1024 --rate 5000
echo "written to $FILE"
[ "$LOST" -eq 0 ] || { echo "run.sh: acknowledged messages are missing or damaged" >&2; exit 1; }
