#!/usr/bin/env bash
# CPU time per message of two systems that both stay up while load goes to them in short turns, so that what a shared machine
# does within a minute is done to both. See README.md for how to read it.
#
# usage: perf/turns.sh [pairs of turns] [seconds per turn] [connections]
# SYSTEMS: the two of peers/systems.sh, the second of which is put over the first (default: nginx_proxy dispatcher); WARM_UP,
# PROFILE, WORK: see lib.sh; FILE: where the results go.
set -euo pipefail
cd "$(dirname "$0")/.."

. perf/lib.sh
. perf/peers/systems.sh

PAIRS=${1:-100}
SECONDS_EACH=${2:-1}
CONNECTIONS=${3:-64}
read -r BASE OTHER <<<"${SYSTEMS:-nginx_proxy dispatcher}"
FILE=${FILE:-perf/results/$(date +%F)-$COMMIT-turns.tsv}
DAEMON_CORES=0
LOAD_CORES=1
declare -A TARGETS=() OPTIONS_OF=() PROCESSES=()
STARTED=()

stop_both() {
    SYSTEM=("${STARTED[@]}")
    stop_all
}
trap stop_both EXIT

begin() {
    SYSTEM=()
    OPTIONS=()
    "start_$1"
    STARTED+=("${SYSTEM[@]}")
    TARGETS[$1]=$TARGET
    OPTIONS_OF[$1]=${OPTIONS[*]}
    PROCESSES[$1]=$(system_processes | cut -d' ' -f1 | tr '\n' ' ')
}

# Sends to system $1 for $2 seconds. Fails if a message was lost.
send() {
    TARGET=${TARGETS[$1]}
    read -ra OPTIONS <<<"${OPTIONS_OF[$1]}"
    curl -fsS "http://$ORIGIN/-/reset"
    load --connections "$CONNECTIONS" --duration "$2" --verify "http://$ORIGIN/-/summary"
}

turn() {
    local pids before json
    read -ra pids <<<"${PROCESSES[$2]}"
    before=$(cpu_ns "${pids[@]}")
    json=$(send "$2" "$SECONDS_EACH")
    awk -v pair="$1" -v name="$2" -v before="$before" -v after="$(cpu_ns "${pids[@]}")" -v messages="$(number delivered "$json")" \
        -v seconds="$(number seconds "$json")" \
        'BEGIN { printf "%s\t%s\t%.0f\t%.1f\n", pair, name, messages / seconds, (after - before) / 1000 / messages }' | tee -a "$FILE"
}

build
start_sink 127.0.0.1:0
for name in "$BASE" "$OTHER"; do
    begin "$name"
    send "$name" "$WARM_UP" >/dev/null
done
{
    describe
    echo "# $CONNECTIONS connections, $SECONDS_EACH s per turn"
    printf 'pair\tsystem\tmessages/s\tcpu_us/message\n'
} | tee "$FILE"
for pair in $(seq "$PAIRS"); do
    # Who comes first changes: whatever a turn leaves behind, the next one finds.
    if ((pair % 2)); then order=("$BASE" "$OTHER"); else order=("$OTHER" "$BASE"); fi
    for name in "${order[@]}"; do
        turn "$pair" "$name"
    done
done
# In brackets between what the median of all such pairs lies in 95 of 100 cases, whatever their distribution: ranks
# n/2 -+ 0.98 sqrt(n).
awk -F'\t' -v base="$BASE" -v other="$OTHER" '
    $2 == base { cpu[$1] = $4 }
    $2 == other { mine[$1] = $4 }
    END { for (pair in mine) print mine[pair] / cpu[pair] }' "$FILE" | sort -g | awk -v base="$BASE" -v other="$OTHER" '
    { ratio[NR] = $1 }
    function rank(at) { at = at < 1 ? 1 : at > NR ? NR : at; return ratio[int(at + 0.5)] }
    END {
        printf "# %s / %s: median %.3f (%.3f to %.3f); %d pairs, %.2f to %.2f\n", other, base,
            rank((NR + 1) / 2), rank(NR / 2 - 0.98 * sqrt(NR)), rank(1 + NR / 2 + 0.98 * sqrt(NR)), NR, ratio[1], ratio[NR]
    }' | tee -a "$FILE"
echo "written to $FILE"
