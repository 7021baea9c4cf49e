#!/usr/bin/env bash
# Measures what scrapes cost messages: a daemon that knows many origins under a steady load, in turns without scrapes, with
# scrapes of ADMIN_LISTEN and with scrapes of LISTEN, ten a second each; and what one scrape takes. See README.md.
#
# usage: perf/scrape.sh [seconds per phase] [rounds]
# ORIGINS_KNOWN: origins with a message each that waits (default 10000); RATE: messages per second (default 1000); WORK, FILE:
# as for run.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
. perf/lib.sh

SECONDS_EACH=${1:-10}
ROUNDS=${2:-3}
ORIGINS_KNOWN=${ORIGINS_KNOWN:-10000}
RATE=${RATE:-1000}
FILE=${FILE:-perf/results/$(date +%F)-$COMMIT-scrape.tsv}
DAEMON_CORES=0
LOAD_CORES=1

# Scrapes address $1 ten times a second, until it is ended: a line of seconds and bytes for each.
scrape() {
    while :; do
        curl -fsS -o /dev/null -w '%{time_total} %{size_download}\n' "http://$1/metrics" || return
        sleep 0.1
    done
}

# CPU time in microseconds that thread $1 of the daemon has taken.
thread_us() {
    local task
    for task in "/proc/$DAEMON/task"/*; do
        [ "$(<"$task/comm")" != "$1" ] || awk '{ printf "%.0f\n", $1 / 1000 }' "$task/schedstat"
    done
}

# One phase. Arguments: round, its name, the address to scrape.
phase() {
    local json
    if [ -n "$3" ]; then
        scrape "$3" >"$WORK/scrapes" &
        BESIDE=$!
    else
        : >"$WORK/scrapes"
    fi
    json=$(taskset -c "$LOAD_CORES" target/release/examples/load --target "$TARGET" --origin "$ORIGIN" --rate "$RATE" \
        --duration "$SECONDS_EACH" --verify "http://$ORIGIN/-/summary" --json)
    stop_one "$BESIDE"
    BESIDE=
    {
        printf '%s\t%s' "$1" "$2"
        for figure in p50 p99 'p99\.9' max delivered lost; do
            printf '\t%s' "$(number "$figure" "$json")"
        done
        sort -g "$WORK/scrapes" | awk '{ ms[NR] = $1 * 1000; bytes = $2 }
            END { if (NR) printf "\t%d\t%.2f\t%.2f\t%d\n", NR, ms[int((NR + 1) / 2)], ms[NR], bytes; else print "\t0\t-\t-\t-" }'
    } | tee -a "$FILE"
}

# CPU time of the core and of the main thread for a scrape of address $1, on an idle daemon: microseconds each.
cost() {
    local core main before_core before_main url=() _
    for _ in $(seq 500); do
        url+=("http://$1/metrics")
    done
    before_core=$(thread_us core-0)
    before_main=$(thread_us dispatcher)
    curl -fsS "${url[@]}" >/dev/null
    core=$((($(thread_us core-0) - before_core) / 500))
    main=$((($(thread_us dispatcher) - before_main) / 500))
    echo "$core $main"
}

build
describe | tee "$FILE"
rm -rf "$WORK/log"
start_sink 127.0.0.1:0
# Nobody listens at the other origins, and after a first attempt their messages wait for an hour.
start_daemon CORES=1 BACKOFF_BASE=1h BREAKER_FAILURES=0
mapfile -t known < <(seq "$ORIGINS_KNOWN" | awk '{ printf "--origin=127.0.%d.%d:1\n", 100 + int($1 / 250), 1 + $1 % 250 }')
target/release/examples/load --target "$TARGET" "${known[@]}" --messages "$ORIGINS_KNOWN" --json >/dev/null
for _ in $(seq 600); do
    [ "$(metric attempts_total)" -lt "$ORIGINS_KNOWN" ] || break
    sleep 0.1
done
echo "# $RATE messages/s of 1 KiB body beside $(metric messages) messages that wait for as many origins, $SECONDS_EACH s per phase; ten scrapes a second" | tee -a "$FILE"
printf 'round\tscrapes\tp50_ms\tp99_ms\tp99.9_ms\tmax_ms\tdelivered\tlost\tscrapes_made\tscrape_p50_ms\tscrape_max_ms\tscrape_bytes\n' | tee -a "$FILE"
for round in $(seq "$ROUNDS"); do
    phase "$round" none ""
    phase "$round" ADMIN_LISTEN "$ADMIN"
    phase "$round" LISTEN "$TARGET"
done
for name in ADMIN_LISTEN LISTEN; do
    address=$ADMIN
    [ "$name" = ADMIN_LISTEN ] || address=$TARGET
    read -r core main < <(cost "$address")
    echo "# a scrape of $name takes $core us of the core's thread and $main us of the main thread" | tee -a "$FILE"
done
echo "written to $FILE"
