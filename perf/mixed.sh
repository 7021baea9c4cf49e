#!/usr/bin/env bash
# Measures what messages that live for ever cost: a load of which one in a hundred is for a destination that is down,
# beside the same load without those. See README.md for how to read it.
#
# usage: perf/mixed.sh [seconds]
# RATE: messages per second in all (default 10000); WORK: where the log is; FILE: where the results go.
set -euo pipefail
cd "$(dirname "$0")/.."
. perf/lib.sh

SECONDS_EACH=${1:-60}
RATE=${RATE:-10000}
FILE=${FILE:-perf/results/$(date +%F)-$COMMIT-mixed.tsv}
DAEMON_CORES=0
LOAD_CORES=1


# One row. Arguments: name, percentage of messages that live for ever.
row() {
    local name=$1 forever=$2 json down_pid="" size live excess worst=0 disk accepted
    rm -rf "$WORK/log"
    start_sink 127.0.0.1:0
    # Small segments, so that the log goes around often; the bound scales with them.
    start_daemon CORES=1 SEGMENT_BYTES=17MiB BACKOFF_BASE=6h BACKOFF_MAX=6h
    local load=(taskset -c "$LOAD_CORES" target/release/examples/load --target "$TARGET" --body 1024 --json)
    "${load[@]}" --origin "$ORIGIN" --rate "$RATE" --duration 2 >/dev/null
    disk=$(write_bytes)
    accepted=$(metric accepted_total)
    if [ "$forever" -gt 0 ]; then
        "${load[@]}" --origin 127.0.0.1:1 --connections 8 --rate $((RATE * forever / 100)) --duration "$SECONDS_EACH" >/dev/null &
        down_pid=$!
    fi
    "${load[@]}" --origin "$ORIGIN" --rate $((RATE * (100 - forever) / 100)) --duration "$SECONDS_EACH" >"$WORK/load.json" &
    local load_pid=$!
    while kill -0 "$load_pid" 2>/dev/null; do
        sleep 0.5
        live=$(metric log_live_bytes)
        # All files of the messages; one segment is the dead letter log's.
        size=$(du -B1 --apparent-size -s "$WORK/log/shard-00" | cut -f1)
        excess=$(((size - 2 * live) / (17 << 20)))
        [ "$excess" -le "$worst" ] || worst=$excess
    done
    wait "$load_pid"
    [ -z "$down_pid" ] || wait "$down_pid"
    json=$(cat "$WORK/load.json")
    accepted=$(($(metric accepted_total) - accepted))
    disk=$(($(write_bytes) - disk))
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$name" "$accepted" "$(number p50 "$json")" "$(number p99 "$json")" \
        "$(number 'p99\.9' "$json")" "$((disk / accepted))" "$(($(metric log_live_bytes) >> 20))" "$worst" | tee -a "$FILE"
    stop
}

build
describe | tee "$FILE"
echo "# $RATE messages/s of 1 KiB body for $SECONDS_EACH s, segments of 17 MiB; excess: most of (files of the log - 2 x live bytes) / segment" | tee -a "$FILE"
printf 'row\taccepted\tp50_ms\tp99_ms\tp99.9_ms\tdisk_bytes/message\tlive_mb_at_end\texcess_segments\n' | tee -a "$FILE"
for _ in 1 2; do
    row all_delivered 0
    row one_in_100_for_ever 1
done
echo "written to $FILE"
