#!/usr/bin/env bash
# Measures how much of the slowest 202s is the machine's: the same open loop, in turns, with the daemon, with nginx as a proxy that
# stores nothing, and with the same nginx while fio writes beside it as often as the daemon did. In each row a real-time thread
# on each core that does nothing but wake every millisecond tells how late it was. See README.md for how to read it.
#
# usage: perf/pauses.sh [seconds per row] [rounds]
# RATE: messages a second (default: half of what a closed loop does); WARM_UP, PROFILE, WORK: see lib.sh; FILE: where the results go.
# Needs nginx, fio and cyclictest (Debian's rt-tests), and root for a real-time thread.
set -euo pipefail
cd "$(dirname "$0")/.."

. perf/lib.sh
. perf/peers/systems.sh

SECONDS_EACH=${1:-10}
ROUNDS=${2:-5}
RATE=${RATE:-}
FILE=${FILE:-perf/results/$(date +%F)-$COMMIT-pauses.tsv}
DAEMON_CORES=0
LOAD_CORES=1
# Writes of the log per second in the daemon's row, and their size: what fio does instead.
WRITES=
WRITE_BYTES=
# A thread that is that late was kept from running.
LATE_MS=4

for program in nginx fio cyclictest; do
    needs "$program"
done

# How often per second a thread was late by more than LATE_MS, and by how much at most in ms, from cyclictest's histogram.
lateness() {
    awk -v late="$LATE_MS" -v seconds="$SECONDS_EACH" '
        /^# Histogram Overflows/ { exit }
        /^# Max Latencies/ { for (at = 4; at <= NF; at++) if ($at + 0 > most) most = $at + 0 }
        /^#/ || NF < 2 { next }
        $1 + 0 > late * 1000 { for (at = 2; at <= NF; at++) count += $at }
        END { printf "%.2f\t%.1f", count / seconds, most / 1000 }' "$WORK/cyclictest.out"
}

# Ticks that the hypervisor gave to others, and all ticks, of all cores so far.
stolen_ticks() {
    awk '$1 == "cpu" { for (at = 2; at <= 9; at++) all += $at; print $9, all }' /proc/stat
}

# One row: a fresh system, a warm-up, then the load. Arguments: name, what starts the system.
row() {
    local name=$1 json commits bytes disk waker ticks
    start_sink 127.0.0.1:0
    OPTIONS=()
    "$2"
    load --connections 64 --duration "$WARM_UP" >/dev/null
    sync -f "$WORK"
    case $name in
    dispatcher)
        commits=$(metric commit_seconds_count)
        bytes=$(write_bytes)
        ;;
    nginx_proxy_beside_writes)
        disk_writes --bs="$WRITE_BYTES" --rate_iops="$WRITES" --runtime="$SECONDS_EACH" >"$WORK/fio.json" &
        BESIDE=$!
        ;;
    esac
    cyclictest --default-system --quiet --priority=50 --interval=1000 --distance=0 --threads=2 --affinity=0,1 --duration="$SECONDS_EACH" \
        --histogram=100000 >"$WORK/cyclictest.out" 2>&1 &
    waker=$!
    ticks=$(stolen_ticks)
    json=$(load --connections 64 --duration "$SECONDS_EACH" --rate "$RATE")
    ticks="$ticks $(stolen_ticks)"
    wait "$waker" || { cat "$WORK/cyclictest.out" >&2 && exit 1; }
    disk=$'-\t-\t-'
    case $name in
    dispatcher)
        commits=$(($(metric commit_seconds_count) - commits))
        bytes=$(($(write_bytes) - bytes))
        WRITES=$((commits / SECONDS_EACH))
        # In whole blocks of 4 KiB.
        WRITE_BYTES=$(((bytes / commits + 2048) / 4096 * 4096))
        disk=$WRITES$'\t-\t-'
        ;;
    nginx_proxy_beside_writes)
        wait "$BESIDE"
        BESIDE=
        disk=$(disk_figures <"$WORK/fio.json" | cut -f1-3)
        ;;
    esac
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$ROUND" "$name" "$RATE" "$(number p50 "$json")" "$(number p99 "$json")" \
        "$(number 'p99\.9' "$json")" "$disk" "$(lateness)" \
        "$(awk '{ printf "%.1f", 100 * ($3 - $1) / ($4 - $2) }' <<<"$ticks")" | tee -a "$FILE"
    stop_all
}

build
fill_disk_file
if [ -z "$RATE" ]; then
    start_sink 127.0.0.1:0
    start_dispatcher
    load --connections 64 --duration "$WARM_UP" >/dev/null
    RATE=$(number acknowledged_per_second "$(load --connections 64 --duration "$SECONDS_EACH")")
    RATE=$((${RATE%.*} / 2))
    stop_all
fi
{
    describe
    printf 'round\tsystem\tmessages/s\tp50_ms\tp99_ms\tp99.9_ms\twrites/s\twrite_p50_ms\twrite_p99_ms\tlate/s\tlatest_ms\tstolen_%%\n'
} | tee "$FILE"
for ROUND in $(seq "$ROUNDS"); do
    row dispatcher start_dispatcher
    row nginx_proxy start_nginx_proxy
    row nginx_proxy_beside_writes start_nginx_proxy
done
rm -f "$WORK/fio.dat"
echo "written to $FILE"
