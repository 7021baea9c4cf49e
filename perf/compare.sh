#!/usr/bin/env bash
# Compares the dispatcher with what stores nothing (nginx) and with durable queues behind an ingress and before a worker, in
# turns: each system once, then each again. See README.md for how to read it, peers/README.md for how each is set up.
#
# usage: perf/compare.sh [seconds per row] [rounds]
# SYSTEMS, SCENARIOS: what to run (default all); WORK: where the logs are (default perf/work, on this disk); FILE: where the
# results go; WARM_UP, PROFILE: see lib.sh; NATS_SERVER: a server that is newer than Debian's. perf/peers/install.sh installs the
# other systems; one that is missing is left out.
set -euo pipefail
cd "$(dirname "$0")/.."

. perf/lib.sh
. perf/peers/systems.sh

SECONDS_EACH=${1:-10}
ROUNDS=${2:-5}
QUEUES=(redis postgres rabbitmq beanstalkd nats)
SYSTEMS=${SYSTEMS:-nginx_202 nginx_proxy dispatcher dispatcher_plain dispatcher_accept dispatcher_2_cores nginx_proxy_2_cores ${QUEUES[*]}}
SCENARIOS=${SCENARIOS:-disk closed_64 closed_256 closed_1000 open_200 open_5000 half}
FILE=${FILE:-perf/results/$(date +%F)-$COMMIT-compare.tsv}
# The whole system under test, server, ingress and worker, on one core; what measures it on another.
DAEMON_CORES=0
LOAD_CORES=1
LOST=0
# Messages per second of a system in this round's closed_64.
declare -A CAPACITY=()

# Ticks in which the cores of the system under test were busy, whoever kept them so: the kernel's threads and interrupts too.
busy_ticks() {
    local core sum=0
    for core in $(seq "${DAEMON_CORES%-*}" "${DAEMON_CORES#*-}"); do
        sum=$((sum + $(awk -v core="cpu$core" '$1 == core { print $2 + $3 + $4 + $7 + $8 }' /proc/stat)))
    done
    echo "$sum"
}

note() {
    echo "# round $ROUND, $*" | tee -a "$FILE"
}

# One row: a fresh system, WARM_UP seconds of a closed loop, then the load. Arguments: scenario, system, options of load.
row() {
    local scenario=$1 system=$2 why
    shift 2
    VERIFY=yes
    OPTIONS=()
    rm -f "$WORK/peer.out"
    start_sink 127.0.0.1:0
    if "start_$system" 2>"$WORK/why.out"; then
        measure "$scenario" "$system" "$@" || note "$scenario: $system failed: $(tail -n 1 "$WORK/peer.out" 2>/dev/null)"
    else
        why=$(tail -n 1 "$WORK/why.out")
        note "$scenario: $system left out: $why"
    fi
    stop_all
}

measure() {
    local scenario=$1 system=$2 idle before after json verify=() pending=0 attempts=0
    shift 2
    idle=$(resident VmRSS)
    [ -z "$VERIFY" ] || verify=(--verify "http://$ORIGIN/-/summary")
    load --connections 64 --duration "$WARM_UP" "${verify[@]}" >/dev/null || return 1
    curl -fsS "http://$ORIGIN/-/reset"
    [ "$system" != dispatcher_accept ] || { pending=$(metric messages) && attempts=$(metric attempts_total); }
    # What was written before is not to be sent to the disk during the row.
    sync -f "$WORK"
    before="$(cpu_ticks) $(busy_ticks) $(write_bytes) $(device_flushes_and_bytes)"
    # The end status says whether anything was lost: a row with a loss is written, and then the run fails.
    json=$(load "${verify[@]}" --duration "$SECONDS_EACH" "$@") || LOST=1
    after="$(cpu_ticks) $(busy_ticks) $(write_bytes) $(device_flushes_and_bytes)"
    [ "$(number acknowledged "${json:-}")0" -gt 0 ] || return 1
    [ "$system" != dispatcher_accept ] || {
        pending=$(($(metric messages) - pending))
        attempts=$(($(metric attempts_total) - attempts))
        [ "$pending" -ge "$(number acknowledged "$json")" ] || LOST=1
        note "$scenario: $system: $pending messages wait; $attempts were attempted"
    }
    awk -v round="$ROUND" -v scenario="$scenario" -v system_name="$system" -v before="$before" -v after="$after" \
        -v seconds="$(number seconds "$json")" -v waited="$(number waited_seconds "$json")" \
        -v acknowledged="$(number acknowledged "$json")" -v delivered="$(number delivered "$json")" \
        -v lost="$(number lost "$json")" -v duplicates="$(number duplicates "$json")" \
        -v unanswered="$(number unanswered "$json")" -v p50="$(number p50 "$json")" -v p99="$(number p99 "$json")" \
        -v p999="$(number 'p99\.9' "$json")" -v max="$(number max "$json")" -v idle="$idle" -v rss="$(resident VmHWM)" \
        -v tick_us="$((1000000 / USER_HZ))" -v command="load ${OPTIONS[*]//$ORIGIN/SINK}${OPTIONS[*]:+ }$* --duration $SECONDS_EACH" '
        function each(at, unit, digits) {
            return sprintf("%.*f", digits, (now[at] - was[at]) * unit / messages)
        }
        function known(value) { return value == "" ? "-" : value }
        BEGIN {
            OFS = "\t"
            split(before, was, " ")
            split(after, now, " ")
            # Where nothing is delivered, what is answered is done.
            messages = delivered == "" ? acknowledged : delivered
            if (messages == 0) messages = 1
            print round, scenario, system_name, sprintf("%.0f", messages / (seconds + waited)), each(1, tick_us, 1), \
                each(2, tick_us, 1), p50, p99, p999, max, sprintf("%.1f", idle / 1024), sprintf("%.1f", rss / 1024), \
                each(3, 1, 0), each(5, 1, 0), each(4, 1, 3), acknowledged, known(delivered), known(lost), \
                known(duplicates), unanswered, command
        }' | tee -a "$FILE"
    [ "$scenario" != closed_64 ] || CAPACITY[$system]=$(tail -n 1 "$FILE" | cut -f4)
}

# A row of the disk alone. Arguments: name, options of fio.
disk_row() {
    local name=$1
    shift
    needs fio 2>"$WORK/why.out" || { note "disk left out: $(cat "$WORK/why.out")" && return; }
    fill_disk_file
    disk_writes --runtime=$((SECONDS_EACH < 5 ? SECONDS_EACH : 5)) "$@" | disk_figures |
        awk -F'\t' -v round="$ROUND" -v name="$name" -v command="fio ${DISK_WRITES[*]} $*" '
        BEGIN { OFS = "\t" }
        {
            print round, "disk", name, $1, "-", "-", $2, $3, $4, $5, "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", command
        }' | tee -a "$FILE"
}

# Every system in one scenario of this round.
scenario() {
    local scenario=$1 system rate
    if [ "$scenario" = disk ]; then
        disk_row disk_4k --bs=4k
        disk_row disk_64k --bs=64k
        # As often as the open loop sends: a disk that is seldom asked may answer later.
        disk_row disk_4k_200 --bs=4k --rate_iops=200
        return
    fi
    for system in $SYSTEMS; do
        case $system:$scenario in
        *:closed_64) ;;
        *_2_cores:closed_*) ;;
        dispatcher_* | *_2_cores) continue ;;
        esac
        case $scenario in
        closed_*)
            row "$scenario" "$system" --connections "${scenario#closed_}"
            continue
            ;;
        open_*) rate=${scenario#open_} ;;
        half) rate=$((${CAPACITY[$system]:-0} / 2)) ;;
        *) echo "compare.sh: no scenario is called $scenario" >&2 && exit 2 ;;
        esac
        if [ "$rate" -eq 0 ] || [ "${CAPACITY[$system]:-$rate}" -lt "$rate" ]; then
            note "$scenario: $system left out: its closed_64 was ${CAPACITY[$system]:-not measured}/s"
            continue
        fi
        row "$scenario" "$system" --connections 64 --rate "$rate"
    done
}

# The versions of what is installed, on one line.
versions() {
    local list
    list=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\n' nginx redis-server 'postgresql-[0-9]*' rabbitmq-server \
        beanstalkd nats-server fio 2>/dev/null | awk '$1 == "ii" { print $2, $3 }' | paste -s -d ';' | sed 's/;/; /g')
    echo "# systems: $list${NATS_SERVER:+; NATS_SERVER is $("$NATS_SERVER" --version)}"
}

header() {
    describe
    versions
    printf 'round\tscenario\tsystem\tdone/s\tcpu_us/message\tcore_us/message\tp50_ms\tp99_ms\tp99.9_ms\tmax_ms\trss_idle_mb\trss_mb\twrite_bytes/message\tdevice_bytes/message\tflushes/message\tacknowledged\tdelivered\tlost\tduplicates\tunanswered\tcommand\n'
}

ulimit -n "$(ulimit -Hn)"
# Before the other, which takes its place.
if [ -n "$PROFILE" ] && [[ " $SYSTEMS " = *" dispatcher_plain "* ]]; then
    cargo build --release --locked --bin dispatcher
    cp "$BINARY" "$PLAIN"
fi
build
# Ingress and worker, with the client libraries of all queues: minutes, the first time.
if [[ " $SYSTEMS " = *" "@($(IFS='|' && echo "${QUEUES[*]}"))" "* ]]; then
    (cd perf/peers && cargo build --release --locked)
fi
header | tee "$FILE"
for ROUND in $(seq "$ROUNDS"); do
    for each in $SCENARIOS; do
        scenario "$each"
    done
done
rm -f "$WORK/fio.dat"
perf/targets.sh "$FILE" | sed 's/^/# /' | tee -a "$FILE"
echo "written to $FILE"
[ "$LOST" -eq 0 ] || { echo "compare.sh: acknowledged messages are missing or damaged" >&2; exit 1; }
