#!/usr/bin/env bash
# Measures a backlog: messages for a destination that is down, a kill -9, the start on that log, and the drain once the
# destination is back. See README.md for how to read it.
#
# usage: perf/backlog.sh [messages]
# WORK: where the log is (default perf/work, on this disk; about 1.6 KB per message); FILE: where the results go.
set -euo pipefail
cd "$(dirname "$0")/.."
. perf/lib.sh

MESSAGES=${1:-5000000}
FILE=${FILE:-perf/results/$(date +%F)-$COMMIT-backlog.tsv}
# Everything shares the machine: nothing here is a figure of one core.
DAEMON_CORES=0-$(($(nproc) - 1))
LOAD_CORES=$DAEMON_CORES

# One destination may take all of the log, and is tried again after hours, so that each message has failed once: its circuit,
# which would hold back all but a few, stays closed.
LONG=(MAX_MEMORY=2GiB BREAKER_FAILURES=0 BACKOFF_BASE=6h BACKOFF_MAX=6h ORIGIN_LOG_SHARE=1)
# Due times are cut to the longest wait, for whatever reason: now everything is due at once. Until the destination is back, its
# circuit is open, and a message a second is tried.
SHORT=(MAX_MEMORY=2GiB BREAKER_PROBE_MAX=1s BACKOFF_BASE=1s BACKOFF_MAX=1s RETRY_AFTER_MAX=1s ORIGIN_LOG_SHARE=1)

now_ms() {
    date +%s%3N
}

# Sequential reads of the log with O_DIRECT, as fast as the disk goes: with fio if it is installed, else with dd.
sequential_mb_per_second() {
    local files
    files=$(find "$WORK/log" -name '*.wal' -size +1M | sort | head -n 100)
    sync
    echo 3 >/proc/sys/vm/drop_caches 2>/dev/null || true
    if command -v fio >/dev/null; then
        fio --name=read --filename="$(tr '\n' ':' <<<"$files" | sed 's/:$//')" --rw=read --bs=1M --direct=1 --iodepth=8 \
            --ioengine=libaio --readonly --runtime=8 --time_based --output-format=terse --terse-version=3 |
            awk -F';' '{ printf "%.0f\n", $7 * 1.024 / 1000 }'
    else
        local start bytes=0 file
        start=$(now_ms)
        for file in $files; do
            dd if="$file" of=/dev/null bs=1M iflag=direct status=none
            bytes=$((bytes + $(stat -c %s "$file")))
        done
        echo $((bytes / 1000 / ($(now_ms) - start)))
    fi
}

# Waits until metric $1 is at least $2; an hour at most.
await_metric() {
    for _ in $(seq 7200); do
        [ "$(metric "$1")" -lt "$2" ] || return 0
        sleep 0.5
    done
    echo "backlog.sh: $1 does not get to $2" >&2
    return 1
}

row() {
    printf '%s\t%s\t%s\n' "$1" "$2" "$3" | tee -a "$FILE"
}

build
rm -rf "$WORK/log"
start_sink 127.0.0.1:0
DOWN=$ORIGIN
stop
start_daemon "${LONG[@]}"
describe | tee "$FILE"
echo "# backend: $BACKEND; $MESSAGES messages of 1 KiB body" | tee -a "$FILE"
printf 'what\tvalue\tunit\n' | tee -a "$FILE"

idle=$(resident VmRSS)
load=(target/release/examples/load --target "$TARGET" --origin "$DOWN" --connections 64 --body 1024 --json)
# What does not grow with the backlog: caches of batches, buffers of connections, deliveries in flight.
"${load[@]}" --messages $((MESSAGES / 10)) >/dev/null
warm=$(resident VmRSS)
json=$("${load[@]}" --messages $((MESSAGES - MESSAGES / 10)))
await_metric attempts_total "$MESSAGES"
full=$(resident VmRSS)
row "accepted while the destination is down" "$(number acknowledged_per_second "$json")" "messages/s"
row "202 after, p99" "$(number p99 "$json")" "ms"
row "resident when idle" "$((idle / 1024))" "MiB"
row "resident with the backlog" "$((full / 1024))" "MiB"
row "per pending message, each tried once" "$(((full - warm) * 1024 / (MESSAGES - MESSAGES / 10)))" "bytes"
row "live bytes of the log" "$(($(metric log_live_bytes) >> 20))" "MiB"
row "files of the log" "$(($(metric log_bytes) >> 20))" "MiB"
kill -9 "$DAEMON"
wait "$DAEMON" 2>/dev/null || true
DAEMON=

sequential=$(sequential_mb_per_second)
echo 3 >/proc/sys/vm/drop_caches 2>/dev/null || true
began=$(now_ms)
start_daemon "${SHORT[@]}"
row "from start to accepting" "$(($(now_ms) - began))" "ms"
until curl -fs -o /dev/null "http://$ADMIN/-/ready"; do sleep 0.05; done
took=$(($(now_ms) - began))
row "from start to ready" "$took" "ms"
row "recovered" "$(metric recovered_messages_total)" "messages"
read_bytes=$(sed -n 's/.*"message":"recovered".*"bytes":\([0-9]*\),.*/\1/p' "$WORK/daemon.out" | awk '{ sum += $1 } END { printf "%.0f", sum }')
row "read by the recovery" "$((read_bytes >> 20))" "MiB"
row "recovery" "$((read_bytes / 1000 / took))" "MB/s"
row "the same files read sequentially, O_DIRECT" "$sequential" "MB/s"
row "resident after the recovery" "$(($(resident VmRSS) / 1024))" "MiB"

began=$(now_ms)
start_sink "$DOWN"
await_metric delivered_total "$MESSAGES"
row "drained once the destination is back" "$((MESSAGES * 1000 / ($(now_ms) - began)))" "messages/s"
row "most resident while draining" "$(($(resident VmHWM) / 1024))" "MiB"
sleep 3
row "files of the log when nothing is pending" "$(($(metric log_bytes) >> 20))" "MiB"
echo "written to $FILE"
