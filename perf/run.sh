#!/usr/bin/env bash
# Measures the whole path on this machine: load generator -> dispatcher -> sink, in many scenarios. See README.md for how to
# read it.
#
# usage: perf/run.sh [seconds per row | short] [scenario...]
# short: 2 seconds per row, 1 to warm up, and half of the sweep. Without scenarios: all of them; "perf/run.sh list" prints their names.
# ROUNDS: how often each is measured, in turns (default 1); WORK: where the log is (default perf/work, on this disk); FILE:
# where the results go.
set -euo pipefail
cd "$(dirname "$0")/.."

. perf/lib.sh

SCENARIOS=(closed_64 closed_256 closed_1000 pipelined_16 body_100 body_16k body_1m slow_origin failing_origin origins_1000
    tls_in tls_out tls_both accept_only open_200 open_5000 sweep)
SECONDS_EACH=10
# Rates of the sweep, in percent of the best of closed_256.
SWEEP=(5 10 25 40 50 60 75 90)
case ${1:-} in
list) printf '%s\n' "${SCENARIOS[@]}" && exit ;;
short)
    SECONDS_EACH=2
    WARM_UP=1
    SWEEP=(5 25 50 75)
    shift
    ;;
[0-9]*)
    SECONDS_EACH=$1
    shift
    ;;
esac
[ $# -eq 0 ] || SCENARIOS=("$@")
ROUNDS=${ROUNDS:-1}
FILE=${FILE:-perf/results/$(date +%F)-$COMMIT.tsv}
# The daemon alone on one core; what measures it on another.
DAEMON_CORES=0
LOAD_CORES=1
LOST=0
# Of the row that comes, besides SINK_OPTIONS and SCHEME: variables of the daemon, options of load besides those of the row's
# command, and whether the sink is away while it is measured.
ENVIRONMENT=() REACH=() AWAY=''
ROUND=1
# Messages per second of the last row.
DONE=
# What the sink that was away says of them.
COUNTED=

# A certificate of 127.0.0.1 that vouches for itself, in $WORK/cert.pem and $WORK/key.pem.
certificate() {
    [ -e "$WORK/cert.pem" ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
        -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
        -keyout "$WORK/key.pem" -out "$WORK/cert.pem" 2>/dev/null
}

# What is read before and after a row, on one line: CPU of the daemon and of the sink in nanoseconds, bytes that the daemon
# wrote, flushes of the disk and bytes written to it, most memory of the daemon in KiB, ticks that a hypervisor stole.
figures() {
    echo "$(cpu_ns "$DAEMON") $(cpu_ns "${SINK:-$DAEMON}") $(write_bytes) $(device_flushes_and_bytes) $(resident VmHWM) $(awk '$1 == "cpu" { print $9 }' /proc/stat)"
}

# One row: a fresh daemon, WARM_UP seconds of a closed loop, then the load. Arguments: name, options of load; the last of those that
# contradict each other counts.
row() {
    local name=$1 before after json load verify
    shift
    rm -rf "$WORK/log"
    [ "${#SINKS[@]}" -gt 0 ] || SINKS=(127.0.0.1:0)
    start_sinks "${SINKS[@]}"
    start_daemon CORES=1 "${ENVIRONMENT[@]}"
    load=(taskset -c "$LOAD_CORES" target/release/examples/load --target "$TARGET" "${ORIGINS[@]}" "${REACH[@]}" --json)
    verify=(--verify "http://$ADDRESS/-/summary")
    "${load[@]}" --connections 64 --duration "$WARM_UP" "${verify[@]}" >/dev/null
    if [ -n "$AWAY" ]; then
        stop_one "$SINK"
        SINK=
        verify=()
    else
        curl -fsS "http://$ADDRESS/-/reset"
    fi
    # What was written before is not to be sent to the disk during the row.
    sync -f "$WORK"
    before=$(figures)
    # The end status says whether anything was lost: a row with a loss is written, and then the run fails.
    json=$("${load[@]}" "${verify[@]}" --duration "$SECONDS_EACH" "$@") || LOST=1
    after=$(figures)
    if [ -n "$AWAY" ]; then
        count_later "$(number acknowledged "$json")"
        json+=$COUNTED
    fi
    report "$name" "$before" "$after" "$json" "${ENVIRONMENT[*]:+${ENVIRONMENT[*]} }load${REACH[*]:+ ${REACH[*]}}${*:+ $*} --duration $SECONDS_EACH; sink${SINK_OPTIONS[*]:+ ${SINK_OPTIONS[*]}}${AWAY:+ away}, origins: ${#ORIGINS[@]}"
    stop
    ENVIRONMENT=() SINK_OPTIONS=() SCHEME='' REACH=() AWAY='' SINKS=()
}

# Starts the sink that was away, waits until it has seen $1 messages or a minute has passed, and puts what has come of them in
# COUNTED, as the load generator would have said it.
count_later() {
    local seen=0 summary
    start_sinks "$ADDRESS"
    for _ in $(seq 120); do
        summary=$(curl -fsS "http://$ADDRESS/-/summary")
        seen=$(number unique_load_ids "$summary")
        [ "$seen" -lt "$1" ] || break
        sleep 0.5
    done
    [ "$seen" -ge "$1" ] || LOST=1
    COUNTED="\"delivered\":$seen,\"lost\":$((seen < $1 ? $1 - seen : 0)),\"duplicates\":$(number duplicate_load_ids "$summary"),"
}

# Writes a row. Arguments: name, figures before and after, what load says, command.
report() {
    local name=$1 json=$4
    DONE=$(awk -v seconds="$(number seconds "$json")" -v delivered="$(number delivered_by_the_end "$json")" \
        -v acknowledged="$(number acknowledged "$json")" -v away="$AWAY" \
        'BEGIN { printf "%.0f", (away ? acknowledged : delivered) / seconds }')
    awk -v round="$ROUND" -v name="$name" -v before="$2" -v after="$3" -v command="$5" -v away="$AWAY" -v rate="$DONE" \
        -v user_hz="$USER_HZ" -v cores="$(nproc)" \
        -v seconds="$(number seconds "$json")" -v waited="$(number waited_seconds "$json")" \
        -v load_cpu="$(number cpu_seconds "$json")" -v acknowledged="$(number acknowledged "$json")" \
        -v delivered="$(number delivered "$json")" -v lost="$(number lost "$json")" \
        -v duplicates="$(number duplicates "$json")" -v unanswered="$(number unanswered "$json")" \
        -v sent="$(number sent "$json")" -v p50="$(number p50 "$json")" \
        -v p99="$(number p99 "$json")" -v p999="$(number 'p99\.9' "$json")" -v max="$(number max "$json")" '
        function grown(at) { return now[at] - was[at] }
        BEGIN {
            OFS = "\t"
            split(before, was, " ")
            split(after, now, " ")
            # Where nothing is delivered, what is acknowledged is done.
            each = away ? acknowledged : delivered
            if (each == 0) each = 1
            tools = (load_cpu + (away ? 0 : grown(2) / 1e9)) / (seconds + waited) * 100
            stolen = grown(7) / user_hz / cores / (seconds + waited) * 100
            print round, name, rate, sprintf("%.1f", grown(1) / 1e3 / each), p50, p99, p999, max, \
                sprintf("%.1f", now[6] / 1024), sprintf("%.0f", grown(3) / each), sprintf("%.0f", grown(5) / each), \
                sprintf("%.3f", grown(4) / each), acknowledged, delivered, lost, duplicates, sent - acknowledged - unanswered, \
                unanswered, sprintf("%.0f", tools), sprintf("%.1f", stolen), command
        }' | tee -a "$FILE"
}

# The rows of a scenario.
scenario() {
    local percent best
    case $1 in
    closed_*) row "$1" --connections "${1#closed_}" ;;
    pipelined_16) row "$1" --pipeline 16 ;;
    body_100) row "$1" --body 100 ;;
    body_16k) row "$1" --body 16384 ;;
    body_1m) row "$1" --body 1048576 ;;
    slow_origin)
        # As many slots as answers that come after 20 ms need at the rate at which messages are accepted: 1,280 / 20 ms.
        ENVIRONMENT=(ORIGIN_IN_FLIGHT=1280 WORKER_IN_FLIGHT=128)
        SINK_OPTIONS=(--delay-ms 20)
        row "$1"
        ;;
    failing_origin)
        SINK_OPTIONS=(--fail-percent 5)
        row "$1"
        ;;
    origins_1000)
        mapfile -t SINKS < <(for number in $(seq 0 999); do echo "127.0.$((number / 250 + 1)).$((number % 250 + 1)):0"; done)
        row "$1"
        ;;
    tls_*)
        certificate
        case $1 in
        tls_in | tls_both)
            ENVIRONMENT+=(TLS_CERT="$WORK/cert.pem" TLS_KEY="$WORK/key.pem")
            REACH=(--tls-ca "$WORK/cert.pem")
            ;;
        esac
        case $1 in
        tls_out | tls_both)
            ENVIRONMENT+=(TLS_CA="$WORK/cert.pem")
            SINK_OPTIONS=(--tls-cert "$WORK/cert.pem" --tls-key "$WORK/key.pem")
            SCHEME=https://
            ;;
        esac
        row "$1"
        ;;
    accept_only)
        # The origin is away: its circuit opens, a message a second is tried, and all others wait. Then it comes back, to be counted.
        ENVIRONMENT=(ORIGIN_LOG_SHARE=1 BREAKER_PROBE_MAX=1s)
        AWAY=yes
        row "$1"
        ;;
    open_*) row "$1" --rate "${1#open_}" ;;
    sweep)
        row sweep_best --connections 256
        best=$DONE
        for percent in "${SWEEP[@]}"; do
            row "sweep_$percent" --connections 256 --rate $((best * percent / 100))
        done
        ;;
    *) echo "run.sh: no scenario is called $1" >&2 && exit 2 ;;
    esac
}

ulimit -n "$(ulimit -Hn)"
build
SINKS=()
start_sinks 127.0.0.1:0
start_daemon
{
    describe
    echo "# backend: $BACKEND"
    printf 'round\trow\tdone/s\tcpu_us/message\tp50_ms\tp99_ms\tp99.9_ms\tmax_ms\trss_mb\twrite_bytes/message\tdevice_bytes/message\tflushes/message\tacknowledged\tdelivered\tlost\tduplicates\trefused\tunanswered\ttools_%%\tstolen_%%\tcommand\n'
} | tee "$FILE"
stop
for ROUND in $(seq "$ROUNDS"); do
    for name in "${SCENARIOS[@]}"; do
        scenario "$name"
    done
done
echo "written to $FILE"
[ "$LOST" -eq 0 ] || { echo "run.sh: acknowledged messages are missing or damaged" >&2; exit 1; }
