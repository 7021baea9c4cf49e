#!/usr/bin/env bash
# Measures what a destination that takes nothing costs the others: twenty healthy destinations under a steady load, in
# turns without and with one more that holds a large backlog. See README.md for how to read it.
#
# usage: perf/isolation.sh [seconds per phase] [rounds]
# HOLES: the kinds of bad destination (default "silent refusing failing"); RATE: messages per second for all healthy ones
# together (default 5000); BACKLOG: messages for the bad one (default 50000); WORK, FILE: as for run.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
. perf/lib.sh

SECONDS_EACH=${1:-10}
ROUNDS=${2:-5}
HOLES=${HOLES:-silent refusing failing}
RATE=${RATE:-5000}
BACKLOG=${BACKLOG:-50000}
HEALTHY=20
FILE=${FILE:-perf/results/$(date +%F)-$COMMIT-isolation.tsv}
DAEMON_CORES=0
LOAD_CORES=1
HOLE=

stop_all() {
    stop
    stop_one "$HOLE"
    HOLE=
}
trap stop_all EXIT

# Starts one sink that is all healthy destinations, and puts options of load that name them in ORIGINS.
start_healthy() {
    local number addresses=()
    for number in $(seq "$HEALTHY"); do
        addresses+=("127.0.1.$number:0")
    done
    start_sinks "${addresses[@]}"
    SUMMARY="http://$ADDRESS/-/summary"
}

# Starts a bad destination of kind $1 and puts its address in BAD.
start_hole() {
    local options=()
    case $1 in
    # Accepts, reads, and never answers.
    silent) options=(--delay-ms 86400000) ;;
    # Answers 503 after a second.
    failing) options=(--status 503 --delay-ms 1000) ;;
    # Nothing listens there.
    refusing) BAD=127.0.0.1:1 && return ;;
    *) echo "isolation.sh: no kind of destination is called $1" >&2 && return 1 ;;
    esac
    : >"$WORK/hole.out"
    taskset -c "$LOAD_CORES" target/release/examples/sink --listen 127.0.0.1:0 "${options[@]}" >"$WORK/hole.out" &
    HOLE=$!
    await "$WORK/hole.out" '^listening'
    BAD=$(sed -n 's/^listening //p' "$WORK/hole.out")
}

# One phase, with a fresh daemon. Arguments: kind, round, without or with.
phase() {
    local kind=$1 round=$2 what=$3 load json attempts cpu
    rm -rf "$WORK/log"
    start_healthy
    start_hole "$kind"
    start_daemon CORES=1
    load=(taskset -c "$LOAD_CORES" target/release/examples/load --target "$TARGET" --json)
    # As many messages before the measurement in either phase, so that the log is as old.
    if [ "$what" = with ]; then
        # Not waited for: the measurement begins while all of it is new, which is when it costs most.
        "${load[@]}" --messages "$BACKLOG" --origin "$BAD" >/dev/null
    else
        "${load[@]}" --messages "$BACKLOG" "${ORIGINS[@]}" --verify "$SUMMARY" >/dev/null
    fi
    curl -fsS "${SUMMARY%summary}reset"
    attempts=$(metric attempts_total)
    cpu=$(cpu_ticks)
    json=$("${load[@]}" "${ORIGINS[@]}" --rate "$RATE" --duration "$SECONDS_EACH" --verify "$SUMMARY") ||
        echo "isolation.sh: acknowledged messages are missing or damaged" >&2
    cpu=$(($(cpu_ticks) - cpu))
    attempts=$(($(metric attempts_total) - attempts))
    {
        printf '%s\t%s\t%s' "$kind" "$round" "$what"
        for figure in after_due_ms_p50 after_due_ms_p99 'after_due_ms_p99\.9' after_due_ms_max p99 'after_202_ms_p99\.9' \
            delivered lost; do
            printf '\t%s' "$(number "$figure" "$json")"
        done
        printf '\t%s\t%s\t%s\n' "$((attempts - $(number delivered "$json")))" "$(metric messages)" \
            "$((cpu * 100 / USER_HZ / SECONDS_EACH))"
    } | tee -a "$FILE"
    stop_all
}

# The middle one of the numbers on stdin; of an even count, the mean of the two.
median() {
    sort -g | awk '{ value[NR] = $1 } END { print (value[int((NR + 1) / 2)] + value[int(NR / 2) + 1]) / 2 }'
}

# Column $3 of the phases of kind $1 that are $2.
column() {
    awk -F'\t' -v kind="$1" -v what="$2" -v column="$3" '$1 == kind && $3 == what { print $column }' "$FILE"
}

build
describe | tee "$FILE"
echo "# $RATE messages/s of 1 KiB body for $HEALTHY healthy destinations, $SECONDS_EACH s per phase; the bad one holds $BACKLOG; p50 to max: from when a message was due to be sent until a healthy destination had it" | tee -a "$FILE"
printf 'bad\tround\tphase\tp50_ms\tp99_ms\tp99.9_ms\tmax_ms\t202_p99_ms\tafter_202_p99.9_ms\tdelivered\tlost\tother_attempts\tpending\tcpu_%%\n' | tee -a "$FILE"
for kind in $HOLES; do
    for round in $(seq "$ROUNDS"); do
        phase "$kind" "$round" without
        phase "$kind" "$round" with
    done
done
echo "# medians over the rounds, and with divided by without" | tee -a "$FILE"
printf 'bad\tpercentile\twithout_ms\twith_ms\tratio\n' | tee -a "$FILE"
for kind in $HOLES; do
    for percentile in 50:4 99:5 99.9:6; do
        without=$(column "$kind" without "${percentile#*:}" | median)
        with=$(column "$kind" with "${percentile#*:}" | median)
        printf '%s\tp%s\t%s\t%s\t%s\n' "$kind" "${percentile%:*}" "$without" "$with" \
            "$(awk -v a="$with" -v b="$without" 'BEGIN { if (b > 0) printf "%.2f", a / b; else printf "-" }')" | tee -a "$FILE"
    done
done
echo "written to $FILE"
