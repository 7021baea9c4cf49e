#!/usr/bin/env bash
# Counts what a message costs the daemon: instructions, system calls, switches. Unlike times, these hardly
# depend on what else the machine does. See README.md for how to read it.
#
# usage: perf/cost.sh [messages]
# Needs valgrind and python3; for system calls perf and the right to see tracepoints (root), else strace.
# WORK: where the log and what valgrind wrote are (default perf/work); FILE: where the results go.
set -euo pipefail
cd "$(dirname "$0")/.."
. perf/lib.sh

MESSAGES=${1:-20000}
# By itself it is fast.
NATIVE=$((MESSAGES * 5))
FILE=${FILE:-perf/results/$(date +%F)-$COMMIT-cost.tsv}
DAEMON_CORES=0
LOAD_CORES=1
# Nobody listens there: what is accepted waits.
NOBODY=127.0.0.1:1

# Sends so many messages; on the whole path until the sink has them all. Argument 1: accept or whole.
send() {
    local path=$1 messages=$2 load
    load=(taskset -c "$LOAD_CORES" target/release/examples/load --target "$TARGET" --connections 64 --body 1024
        --messages "$messages" --json)
    if [ "$path" = accept ]; then
        load+=(--origin "$NOBODY")
    else
        load+=(--origin "$ORIGIN" --verify "http://$ORIGIN/-/summary")
        curl -fsS "http://$ORIGIN/-/reset"
    fi
    JSON=$("${load[@]}")
    [ "$(number acknowledged "$JSON")" -eq "$messages" ] || { echo "cost.sh: not all were accepted: $JSON" >&2; return 1; }
}

# A daemon under whatever the arguments after the path and the number of messages to warm it with say.
begin() {
    local path=$1 warm_up=$2
    shift 2
    UNDER=("$@")
    rm -rf "$WORK/log"
    start_sink 127.0.0.1:0
    start_daemon BACKOFF_BASE=1h BACKOFF_MAX=1h
    # The first segments, and what is made once.
    sleep 1
    send "$path" "$warm_up"
    COMMITS=$(metric commit_seconds_count)
}

# One figure. Arguments: path, name, amount in all, messages.
row() {
    awk -v path="$1" -v name="$2" -v amount="$3" -v messages="$4" 'BEGIN {
        OFS = "\t"; print path, name, sprintf("%.3f", amount / messages)
    }' | tee -a "$FILE"
}

# How full batches are decides much: what is done per batch is shared by its messages. Arguments: path, where, messages.
batches() {
    row "$1" "batches, $2" "$(($(metric commit_seconds_count) - COMMITS))" "$3"
}

# Of all threads of the daemon. Argument: voluntary or nonvoluntary.
switches() {
    cat "/proc/$DAEMON"/task/*/status | awk -v name="$1_ctxt_switches:" '$1 == name { sum += $2 } END { print sum }'
}

# The names of these tracepoints that the kernel has, with commas between.
tracepoints() {
    perf list tracepoint 2>/dev/null | awk -v pattern="$1" '$1 ~ pattern { printf "%s%s", sep, $1; sep = "," }'
}

can_trace() {
    command -v perf >/dev/null && perf stat -e raw_syscalls:sys_enter true >/dev/null 2>&1
}

# Counts system calls by kind, what is asked of rings, page faults, and instructions where the processor is let count
# them, while the messages pass.
count_events() {
    local path=$1 out=$WORK/events.out counter signal=TERM
    if can_trace; then
        # The one at which it tells what it has counted.
        signal=INT
        perf stat -x ';' -o "$out" -p "$DAEMON" -e 'raw_syscalls:sys_enter,syscalls:sys_enter_*,page-faults' \
            -e "$(tracepoints '^io_uring:io_uring_(submit_req|submit_sqe|queue_async_work|poll_arm|task_add)$')" \
            -e 'instructions:u,instructions:k' &
    else
        strace -c -f -qq -U name,calls -o "$out" -p "$DAEMON" &
    fi
    counter=$!
    # Until it is attached.
    sleep 1
    send "$path" "$NATIVE"
    kill -s "$signal" "$counter"
    wait "$counter" || true
    if can_trace; then
        # Value, unit, name; what is not counted has words for a value.
        awk -F ';' '$1 ~ /^[0-9]+$/ { sub(/.*:sys_enter_/, "system call ", $3); sub(/raw_syscalls:sys_enter/, "system calls", $3)
            print $1, $3 }' "$out"
    else
        awk '$2 ~ /^[0-9]+$/ { sub(/total/, "", $1); print $2, "system call" ($1 == "" ? "s" : " " $1) }' "$out"
    fi | sort -rn | while read -r amount name; do
        # Not what the clock or opening the connections brings about.
        [ $((amount * 200)) -lt "$NATIVE" ] || row "$path" "$name" "$amount" "$NATIVE"
    done
}

native() {
    local path=$1 voluntary forced
    begin "$path" "$NATIVE"
    voluntary=$(switches voluntary)
    forced=$(switches nonvoluntary)
    count_events "$path"
    # strace itself is the reason for most of those under it.
    if can_trace; then
        row "$path" "context switches, voluntary" $(($(switches voluntary) - voluntary)) "$NATIVE"
        row "$path" "context switches, forced" $(($(switches nonvoluntary) - forced)) "$NATIVE"
    fi
    batches "$path" "native" "$NATIVE"
    stop
}

instructions() {
    local path=$1 out=$WORK/callgrind.$1
    rm -f "$out" "$out".*
    begin "$path" 3000 valgrind --tool=callgrind --callgrind-out-file="$(realpath "$out")"
    callgrind_control --zero "$DAEMON" >/dev/null 2>&1
    send "$path" "$MESSAGES"
    callgrind_control --dump "$DAEMON" >/dev/null 2>&1
    perf/cost/where.py "$out.1" "$MESSAGES" >"$WORK/functions.$path"
    row "$path" "instructions" "$(awk '{ print $1; exit }' "$WORK/functions.$path")" 1
    batches "$path" "under callgrind" "$MESSAGES"
    stop
}

build
begin accept 64 valgrind --tool=none
VALGRIND_BACKEND=$BACKEND
stop
begin accept 64
{
    describe
    echo "# backend: $BACKEND; under valgrind: $VALGRIND_BACKEND, $(valgrind --version)"
    echo "# $NATIVE messages of 1 KiB over 64 connections, closed loop, under callgrind $MESSAGES"
    printf 'path\tfigure\tper_message\n'
} | tee "$FILE"
stop
for path in accept whole; do
    native "$path"
    instructions "$path"
done
echo "written to $FILE; where it comes from: $WORK/functions.*"
