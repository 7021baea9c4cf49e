#!/usr/bin/env bash
# Measures how long the slowest acknowledgements take, second by second, while everything goes on that might delay them: segments
# are rolled, emptied and reused, an origin comes and goes, metrics are scraped, and a large log is read after a kill -9. See
# README.md for how to read it.
#
# usage: perf/tail.sh [minutes]
# The mixed load takes so many minutes (default 10; 0.25 tries it out), its control and the disk alone a quarter of that each.
# RATE: messages per second (default half of what a closed loop does); BACKLOG: messages in the log that is recovered (default
# 1000000); WORK, FILE: as for run.sh; SERIES: where the seconds go.
set -euo pipefail
cd "$(dirname "$0")/.."
. perf/lib.sh

SECONDS_MIXED=$(awk -v minutes="${1:-10}" 'BEGIN { printf "%.0f", minutes * 60 }')
SECONDS_OTHER=$((SECONDS_MIXED / 4 > 8 ? SECONDS_MIXED / 4 : 8))
BACKLOG=${BACKLOG:-1000000}
FILE=${FILE:-perf/results/$(date +%F)-$COMMIT-tail.tsv}
SERIES=${SERIES:-${FILE%.tsv}-series.tsv}
DAEMON_CORES=0
LOAD_CORES=1
# An origin that takes every second message comes and goes after so many seconds.
FLAP_SECONDS=15
# Nothing listens there.
DEAD=127.0.0.1:1
HEALTHY=(127.0.1.{1..20}:0)
LOAD=
WATCH=
FLAPPING=
LOST=0

stop_all() {
    stop_one "$LOAD"
    stop_one "$WATCH"
    stop_one "$FLAPPING"
    stop
    LOAD='' WATCH='' FLAPPING=''
}
trap stop_all EXIT

row() {
    printf '%s\t%s\t%s\n' "$1" "$2" "$3" | tee -a "$FILE"
}

# A fresh log, daemon and sink. Arguments: variables of the daemon.
start() {
    rm -rf "$WORK/log"
    start_sinks "${HEALTHY[@]}"
    start_daemon CORES=1 "$@"
}

load() {
    taskset -c "$LOAD_CORES" target/release/examples/load --target "$TARGET" "${ORIGINS[@]}" --json "$@"
}

# Starts load in the background, verified, with a series. Arguments: seconds, further options.
start_load() {
    load --rate "$RATE" --duration "$1" --series "$WORK/series.tsv" --verify "http://$ADDRESS/-/summary" "${@:2}" >"$WORK/load.json" &
    LOAD=$!
}

# Waits for it and says what became of it. Argument: phase.
await_load() {
    local json
    wait "$LOAD" || LOST=1
    LOAD=
    json=$(cat "$WORK/load.json")
    row "$1: acknowledged" "$(number acknowledged "$json")" messages
    row "$1: refused or unanswered" "$(($(number sent "$json") - $(number acknowledged "$json")))" messages
    row "$1: lost" "$(number lost "$json")" messages
    for quantile in p50 p99 p99.9 max; do
        row "$1: 202 after, $quantile" "$(number "${quantile/./\\.}" "$json")" ms
    done
}

# Argument: scrapes happen in every second that this divides.
start_watch() {
    taskset -c "$LOAD_CORES" target/release/examples/watch --log "$WORK/log/shard-00" \
        --metrics "http://$ADMIN/metrics" --every "$1" >"$WORK/watch.tsv" &
    WATCH=$!
}

stop_watch() {
    stop_one "$WATCH"
    WATCH=
}

# Lays the seconds of load beside those of watch. Arguments: phase, Unix time until which the log was being recovered.
# $WORK/away.txt has the Unix times at which the flapping origin went and came, in turns.
join_series() {
    awk -F'\t' -v phase="$1" -v recovered="${2:-0}" '
        BEGIN { OFS = "\t" }
        FILENAME ~ /away/ { turn[++turns] = $1; next }
        FNR == 1 { next }
        FILENAME ~ /watch/ { for (field = 2; field <= NF; field++) seen[$1, field] = $field; next }
        function known(field) { return ($1, field) in seen ? seen[$1, field] : "-" }
        {
            away = 0
            for (at = 1; at <= turns; at++) if (turn[at] <= $1) away = at % 2
            first = first == "" ? $1 : first
            print phase, $1 - first, $2, $3, $4, $5, $6, known(2), known(3), known(4), known(5), known(6), known(7), \
                known(8), away, ($1 <= recovered) + 0, known(9)
        }' "$WORK/away.txt" "$WORK/watch.tsv" "$WORK/series.tsv" >>"$SERIES"
}

# Half of what a closed loop does, in RATE.
choose_rate() {
    local json
    start
    load --duration 1 >/dev/null
    json=$(load --duration 5 --verify "http://$ADDRESS/-/summary")
    stop
    row "closed loop, 64 connections" "$(number acknowledged_per_second "$json")" messages/s
    RATE=${RATE:-$(awk -v best="$(number acknowledged_per_second "$json")" 'BEGIN { printf "%.0f", best / 2 }')}
    row "rate of all phases" "$RATE" messages/s
}

# A log with a large backlog, a kill -9, and the load from the moment at which the daemon listens again.
recovery() {
    local began recovered
    start "${SMALL[@]}"
    taskset -c "$LOAD_CORES" target/release/examples/load --target "$TARGET" --origin "$DEAD" --messages "$BACKLOG" >/dev/null
    kill -9 "$DAEMON"
    wait "$DAEMON" 2>/dev/null || true
    sync -f "$WORK"
    echo 3 >/proc/sys/vm/drop_caches 2>/dev/null || true
    began=$(date +%s%3N)
    start_daemon CORES=1 "${SMALL[@]}"
    row "recovery: from start to accepting" "$(($(date +%s%3N) - began))" ms
    start_watch 1000000
    start_load 15
    await "$WORK/daemon.out" '"message":"recovered"' 600
    recovered=$(date +%s%3N -d "$(sed -n 's/.*"timestamp":"\([^"]*\)".*"message":"recovered".*/\1/p' "$WORK/daemon.out" | tail -n 1)")
    row "recovery: from start to recovered" "$((recovered - began))" ms
    row "recovery: messages found" "$(metric recovered_messages_total)" messages
    await_load recovery
    stop_watch
    join_series recovery $((recovered / 1000))
    stop_all
}

# Everything at once.
mixed() {
    local left
    start "${SMALL[@]}"
    SINK_OPTIONS=(--fail-percent 50)
    FLAPPING=$SINK ORIGINS_HEALTHY=("${ORIGINS[@]}") ADDRESS_HEALTHY=$ADDRESS
    start_sinks 127.0.2.1:0
    FLAP=$ADDRESS
    # The two change places: SINK is the one with the healthy ones.
    left=$SINK SINK=$FLAPPING FLAPPING=$left ORIGINS=("${ORIGINS_HEALTHY[@]}") ADDRESS=$ADDRESS_HEALTHY
    local beside=(--beside "$DEAD" --beside "$FLAP" --beside-every 50)
    load --rate "$RATE" --duration 3 --verify "http://$ADDRESS/-/summary" "${beside[@]}" >/dev/null
    curl -fsS "http://$ADDRESS/-/reset"
    start_watch 2
    start_load "$SECONDS_MIXED" "${beside[@]}"
    : >"$WORK/away.txt"
    left=$SECONDS_MIXED
    while [ "$left" -gt "$FLAP_SECONDS" ]; do
        sleep "$FLAP_SECONDS"
        left=$((left - FLAP_SECONDS))
        date +%s >>"$WORK/away.txt"
        if [ -n "$FLAPPING" ]; then
            stop_one "$FLAPPING"
            FLAPPING=
        else
            taskset -c "$LOAD_CORES" target/release/examples/sink --listen "$FLAP" "${SINK_OPTIONS[@]}" >/dev/null &
            FLAPPING=$!
        fi
    done
    await_load mixed
    stop_watch
    row "mixed: live bytes of the log at the end" "$(($(metric log_live_bytes) >> 20))" MiB
    row "mixed: files of the log at the end" "$(($(metric log_bytes) >> 20))" MiB
    join_series mixed
    SINK_OPTIONS=()
    stop_all
}

# The same rate, and nothing of all that: large segments that are ready, all is delivered, nobody scrapes.
control() {
    local bytes before=
    : >"$WORK/away.txt"
    start SEGMENT_BYTES=1GiB
    load --rate "$RATE" --duration 3 --verify "http://$ADDRESS/-/summary" >/dev/null
    curl -fsS "http://$ADDRESS/-/reset"
    # Until no segment is being written with zeros any more.
    for _ in $(seq 60); do
        bytes=$(du -sB1 "$WORK/log" | cut -f1)
        [ "$bytes" != "$before" ] || break
        before=$bytes
        sleep 2
    done
    start_watch 1000000
    start_load "$SECONDS_OTHER"
    await_load control
    stop_watch
    join_series control
    stop_all
}

# The disk alone: writes of 4 KiB over written blocks, O_DIRECT and O_DSYNC, one after the other.
disk() {
    command -v fio >/dev/null || { echo "# disk: left out, fio is not installed" | tee -a "$FILE" && return; }
    rm -rf "$WORK/log" "$WORK"/fio*
    dd if=/dev/zero of="$WORK/fio.dat" bs=1M count=64 conv=fsync status=none
    taskset -c "$DAEMON_CORES" fio --name=disk --filename="$WORK/fio.dat" --size=64M --overwrite=1 --rw=write --bs=4k --direct=1 \
        --sync=dsync --ioengine=psync --time_based --runtime="$SECONDS_OTHER" --write_lat_log="$WORK/fio" >/dev/null
    # In the log: milliseconds since the start, nanoseconds it took.
    awk -F', *' '{ print int($1 / 1000), $2 / 1e6 }' "$WORK"/fio_clat.*.log | sort -k1,1n -k2,2g | awk '
        function tell() {
            if (!count) return
            printf "disk\t%d\t%d\t%.3f\t%.3f\t%.3f\t%.3f\t-\t-\t-\t-\t-\t-\t-\t0\t0\t-\n", second, count, at(0.5), at(0.99), at(0.999), at(1)
            count = 0
        }
        function at(quantile, rank) { rank = int(quantile * count + 0.999999); return took[rank < 1 ? 1 : rank] }
        $1 != second { tell() }
        { second = $1; took[++count] = $2 }
        END { tell() }' >>"$SERIES"
    rm -f "$WORK"/fio*
}

# What seconds with an event have that seconds without it have not: the median and the worst of their p99.9. The first and the
# last second of a phase are in no row, as they are not whole.
events() {
    awk -F'\t' '
        /^#/ || $1 == "phase" { next }
        {
            if ($1 != phase) { last[phase] = rows; phase = $1; first[phase] = rows + 1 }
            rows++
            of[rows] = phase; p50[rows] = $4; p99[rows] = $5; p999[rows] = $6; worst[rows] = $7
            rolled[rows] = $8 > 0; released[rows] = $9 > 0; scraped[rows] = $10 != "-"; away[rows] = $15; recovering[rows] = $16
            slowest[rows] = $11
            # In ticks of 10 ms: one is chance.
            stolen[rows] = $17 > 10
        }
        function sort(list, count, at, to, held) {
            for (at = 2; at <= count; at++) {
                held = list[at]
                for (to = at; to > 1 && list[to - 1] > held; to--) list[to] = list[to - 1]
                list[to] = held
            }
        }
        function middle(list, count) { return (list[int((count + 1) / 2)] + list[int(count / 2) + 1]) / 2 }
        # Seconds of the phase in which the event was, in a line with those in which it was not.
        function compare(name, what, event, at, count, others, with, without) {
            split("", with)
            split("", without)
            for (at = first[name] + 1; at < last[name]; at++) {
                if (event[at]) with[++count] = p999[at]; else without[++others] = p999[at]
            }
            if (!count || !others) { printf "%s\t%s\t%d\t%d\t-\t-\t-\t-\t-\n", name, what, count, others; return }
            sort(with, count)
            sort(without, others)
            printf "%s\t%s\t%d\t%d\t%.3f\t%.3f\t%.2f\t%.3f\t%.3f\n", name, what, count, others, middle(with, count), \
                middle(without, others), middle(with, count) / middle(without, others), with[count], without[others]
        }
        # All seconds of a phase, in the columns of compare.
        function whole(name, at, count, list) {
            split("", list)
            for (at = first[name] + 1; at < last[name]; at++) list[++count] = p999[at]
            if (!count) return
            sort(list, count)
            printf "%s\tall seconds\t%d\t0\t%.3f\t-\t-\t%.3f\t-\n", name, count, middle(list, count), list[count]
        }
        END {
            last[phase] = rows
            # A scrape tells of the writes since the one before: of this second and the one before.
            for (at = 1; at <= rows; at++) if (slowest[at] != "-" && of[at] == "mixed") writes[++count] = slowest[at] + 0
            sort(writes, count)
            for (at = 1; at <= rows; at++) {
                if (slowest[at] != "-" && slowest[at] + 0 > middle(writes, count)) slow[at] = slow[at - 1] = 1
            }
            compare("recovery", "log being read", recovering)
            compare("mixed", "segment rolled", rolled)
            compare("mixed", "oldest segment emptied and released", released)
            compare("mixed", "metrics scraped", scraped)
            compare("mixed", "failing origin away", away)
            compare("mixed", "slowest write of the log above its median", slow)
            compare("mixed", "time stolen by the hypervisor", stolen)
            compare("control", "time stolen by the hypervisor", stolen)
            whole("mixed")
            whole("control")
            whole("disk")
        }' "$SERIES"
}

ulimit -n "$(ulimit -Hn)"
build
: >"$WORK/away.txt"
{
    describe
    echo "# perf/tail.sh ${1:-10}: $SECONDS_MIXED s of mixed load, $SECONDS_OTHER s of control and of the disk; bodies of 1 KiB, 64 connections, open loop"
    printf 'what\tvalue\tunit\n'
} | tee "$FILE"
choose_rate
# Such that one in three seconds has a new segment: in every second there would be nothing to compare with.
SEGMENT=$((RATE * 1200 * 3 / 1048576 > 1 ? RATE * 1200 * 3 / 1048576 : 1))
row "segments" "$SEGMENT" MiB
# A segment must hold the largest message; here they are small.
SMALL=("SEGMENT_BYTES=${SEGMENT}MiB" MAX_BODY=64KiB)
sed -n '/^#/p' "$FILE" >"$SERIES"
printf 'phase\tsecond\tacknowledged\tp50_ms\tp99_ms\tp99.9_ms\tmax_ms\trolled\treleased\tscrape_ms\tslowest_commit_ms\tpending\tlive_bytes\tlog_bytes\taway\trecovering\tstolen_ms\n' >>"$SERIES"
recovery
mixed
control
disk
echo "# seconds with an event beside seconds without: median and worst of their p99.9" | tee -a "$FILE"
printf 'phase\tevent\tseconds_with\tseconds_without\tp99.9_with_ms\tp99.9_without_ms\tratio\tworst_with_ms\tworst_without_ms\n' | tee -a "$FILE"
events | tee -a "$FILE"
echo "written to $FILE and $SERIES"
[ "$LOST" -eq 0 ] || { echo "tail.sh: acknowledged messages are missing or damaged" >&2; exit 1; }
