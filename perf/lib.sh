# What the scripts of perf/ share: starting and stopping, waiting, reading figures. Sourced, not run.

WORK=${WORK:-perf/work}
# Seconds of a closed loop before a row, not counted: until a new log's segments have gone around. Before that they are
# filled with zeros beside the messages.
WARM_UP=${WARM_UP:-8}
# A profile from pgo.sh, with which the daemon is built.
PROFILE=${PROFILE:-}
BINARY=target/release/dispatcher
COMMIT=$(git rev-parse --short HEAD)$(git diff --quiet HEAD -- src || echo -dirty)
USER_HZ=$(getconf CLK_TCK)
DAEMON=
SINK=
# A process that a script runs beside them.
BESIDE=
# What the daemon runs under, if anything.
UNDER=()
# The processes that are measured, if it is not the daemon alone: see system_processes.
SYSTEM=()

stop_one() {
    [ -n "$1" ] || return 0
    kill "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

stop() {
    stop_one "$BESIDE"
    stop_one "$DAEMON"
    stop_one "$SINK"
    BESIDE=
    DAEMON=
    SINK=
}
trap stop EXIT

# Waits up to ${3:-10} seconds for a line of file $1 that matches $2.
await() {
    for _ in $(seq $((${3:-10} * 20))); do
        grep -q "$2" "$1" 2>/dev/null && return
        sleep 0.05
    done
    echo "nothing in $1 says $2:" >&2
    tail -n 5 "$1" >&2
    return 1
}

# Starts the sink on address $1, on the cores in LOAD_CORES, and puts its address in ORIGIN.
start_sink() {
    # Here and not only by the child, which may be later than the first look at it.
    : >"$WORK/sink.out"
    taskset -c "$LOAD_CORES" target/release/examples/sink --listen "$1" >"$WORK/sink.out" &
    SINK=$!
    await "$WORK/sink.out" '^listening'
    ORIGIN=$(sed -n 's/^listening //p' "$WORK/sink.out" | head -n 1)
}

# Starts one sink with SINK_OPTIONS on all addresses in the arguments, on the cores in LOAD_CORES; puts options of load that
# name them in ORIGINS, with SCHEME before each, and the first of them in ADDRESS.
SINK_OPTIONS=()
SCHEME=
start_sinks() {
    local address listen=()
    for address in "$@"; do
        listen+=(--listen "$address")
    done
    : >"$WORK/sink.out"
    taskset -c "$LOAD_CORES" target/release/examples/sink "${listen[@]}" "${SINK_OPTIONS[@]}" >"$WORK/sink.out" &
    SINK=$!
    for _ in $(seq 200); do
        [ "$(grep -c '^listening' "$WORK/sink.out")" -lt "$#" ] || break
        sleep 0.05
    done
    mapfile -t ORIGINS < <(sed -n "s|^listening |--origin=$SCHEME|p" "$WORK/sink.out")
    [ "${#ORIGINS[@]}" -eq "$#" ] || { echo "the sink does not listen" >&2 && return 1; }
    ADDRESS=${ORIGINS[0]#--origin="$SCHEME"}
}

# Starts the daemon with the variables in the arguments, on the cores in DAEMON_CORES; puts its addresses in TARGET and
# ADMIN. Its log stays as it is.
start_daemon() {
    : >"$WORK/daemon.out"
    env TRANSACTION_LOG="$WORK/log" LISTEN=127.0.0.1:0 ADMIN_LISTEN=127.0.0.1:0 LOG_FORMAT=json "$@" \
        taskset -c "$DAEMON_CORES" "${UNDER[@]}" "$BINARY" 2>"$WORK/daemon.out" &
    DAEMON=$!
    await "$WORK/daemon.out" '"message":"listening"' 60
    TARGET=$(listening listen)
    ADMIN=$(listening admin)
    BACKEND=$(listening backend)
}

# A field of the line that says that the daemon listens.
listening() {
    sed -n "s/.*\"message\":\"listening\".*\"$1\":\"\([^\"]*\)\".*/\1/p" "$WORK/daemon.out" | head -n 1
}

# The processes of the system under test: those in SYSTEM, or the daemon, and all that descend from them. A line each: pid,
# CPU ticks of its own, and of its children that ended and were waited for. The fields are counted behind the command's
# parenthesis.
system_processes() {
    # Processes that end meanwhile are none of the system's: what it forks, it waits for.
    { cat /proc/[0-9]*/stat 2>/dev/null || true; } | sed 's/^\([0-9]*\) (.*) /\1 /' | awk -v roots="${SYSTEM[*]:-$DAEMON}" '
        BEGIN { for (count = split(roots, root, " "); count; count--) ours[root[count]] = 1 }
        { parent[$1] = $3; own[$1] = $13 + $14; ended[$1] = $15 + $16 }
        END {
            for (pid in parent) {
                for (at = pid; at in parent && !(at in ours); at = parent[at]);
                if (at in ours && pid in parent) print pid, own[pid], ended[pid]
            }
        }'
}

# CPU ticks of the system under test; of each process with its threads and children that ended.
cpu_ticks() {
    system_processes | awk '{ sum += $2 + $3 } END { printf "%.0f\n", sum }'
}

# CPU time in nanoseconds of the processes whose ids are the arguments, summed: each one's CPU clock (clock_getcpuclockid(3)
# says how a process id becomes a clock id), which counts threads that ended, as /proc/<pid>/task does not, and has no ticks
# of 10 ms, as /proc/<pid>/stat does.
cpu_ns() {
    perl -MTime::HiRes=clock_gettime -e '
        my $sum = 0;
        for (@ARGV) {
            my $seconds = clock_gettime((-$_ - 1) * 8 + 2);
            $seconds >= 0 or die "no process $_\n";
            $sum += $seconds;
        }
        printf "%.0f\n", $sum * 1e9' "$@"
}

# Where the kernel tells of the whole disk that $WORK is on; of nothing, where there is none, as on tmpfs.
disk_directory() {
    local name device
    name=$(basename "$(realpath "$(df --output=source "$WORK" | tail -n 1)")")
    device=$(realpath "/sys/class/block/$name" 2>/dev/null || true)
    [ ! -e "$device/partition" ] || device=$(dirname "$device")
    echo "$device"
}

# Flushes and bytes written so far by the disk that $WORK is on, for whomever: Documentation/block/stat.rst of the kernel.
# The whole disk's, since partitions count no flushes; zeros where there is no disk.
device_flushes_and_bytes() {
    awk '{ printf "%s %.0f\n", $16, $7 * 512 }' "$(disk_directory)/stat" 2>/dev/null || echo 0 0
}

# How a disk is measured, or kept busy: writes over written blocks, one after the other.
DISK_WRITES=(--rw=write --direct=1 --sync=dsync --ioengine=psync)

# The file for that, if it is not there yet.
fill_disk_file() {
    [ -e "$WORK/fio.dat" ] ||
        fio --name=fill --filename="$WORK/fio.dat" --size=256M --rw=write --bs=1M --direct=1 --end_fsync=1 >/dev/null
}

# Runs fio with DISK_WRITES and the options in the arguments, on the cores in DAEMON_CORES; prints its JSON. For a subshell: it
# takes the place of the shell, so that who stops that stops it.
disk_writes() {
    exec taskset -c "$DAEMON_CORES" fio --name=writes --filename="$WORK/fio.dat" --size=256M --time_based \
        --percentile_list=50:99:99.9 --output-format=json "${DISK_WRITES[@]}" "$@"
}

# Writes per second, p50, p99, p99.9 and the slowest in ms, from the JSON of disk_writes.
disk_figures() {
    awk '
        { gsub(/[",]/, "") }
        $1 == "write" { ours = 1 }
        $1 == "read" || $1 == "trim" || $1 == "sync" { ours = 0 }
        ours && $1 == "iops" && !rate { rate = $3 }
        ours && $1 == "clat_ns" { latency = 1 }
        ours && latency && $1 == "max" && !max { max = $3 }
        ours && latency && $1 ~ /^[0-9]+[.]0*[0-9]*$/ { at[$1 + 0] = $3 }
        END {
            ms = 1e-6
            printf "%.0f\t%.3f\t%.3f\t%.3f\t%.3f\n", rate, at[50] * ms, at[99] * ms, at[99.9] * ms, max * ms
        }'
}

# What /proc tells of the processes of the system under test in file $1.
system_files() {
    local pid _
    system_processes | while read -r pid _; do cat "/proc/$pid/$1" 2>/dev/null || true; done
}

# Bytes that the system under test has sent to the disk; a process counts its children that ended.
write_bytes() {
    system_files io | awk '/^write_bytes/ { sum += $2 } END { printf "%.0f\n", sum }'
}

# Resident memory of the system under test in KiB: VmRSS now, VmHWM the most so far of each process. What processes may
# share (files, shared memory) is counted once, as much as the one has that has most.
resident() {
    system_files status | awk -v name="$1:" '
        $1 == name { all = $2 }
        $1 == "RssFile:" { file = $2 }
        $1 == "RssShmem:" { own += all - file - $2; files = file > files ? file : files; shared = $2 > shared ? $2 : shared }
        END { printf "%.0f\n", own + files + shared }'
}

# The sum of a metric of the daemon over its labels.
metric() {
    curl -fsS "http://$ADMIN/metrics" | awk -v name="dispatcher_$1" 'index($1, name) == 1 && $1 !~ /^#/ { split($1, part, "{"); if (part[1] == name) sum += $2 } END { printf "%.0f\n", sum }'
}

# A number in a line of JSON.
number() {
    sed -n "s/.*\"$1\":\([0-9.e+-]*\).*/\1/p" <<<"$2"
}

# Head lines of a file of results: what was measured, on what.
describe() {
    local device
    device=$(df --output=source "$WORK" | tail -n 1)
    echo "# date: $(date -u +%FT%TZ)"
    echo "# commit: $COMMIT${PROFILE:+, profile-guided by pgo.sh}"
    echo "# kernel: $(uname -r)"
    echo "# cpu: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores; daemon on $DAEMON_CORES, load and sink on $LOAD_CORES"
    echo "# disk: $(df --output=source,fstype "$WORK" | tail -n 1 | tr -s ' '), $(lsblk -ndo MODEL,SIZE "$device" 2>/dev/null | tr -s ' ' || echo 'unknown device')"
    echo "# settings: tcp congestion control $(cat /proc/sys/net/ipv4/tcp_congestion_control 2>/dev/null || echo unknown), sched_autogroup $(cat /proc/sys/kernel/sched_autogroup_enabled 2>/dev/null || echo unknown), mounted $(findmnt -no OPTIONS -T "$WORK" || echo unknown)"
    echo "# load average at the start: $(cut -d' ' -f1-3 /proc/loadavg)"
}

# The daemon last, with flags besides: those of pgo.sh, or that use the profile which PROFILE names.
build() {
    local flags=${DAEMON_FLAGS:-${PROFILE:+-Cprofile-use=$(realpath "$PROFILE")}}
    cargo build --release --locked --example load --example sink --example watch
    RUSTFLAGS="${RUSTFLAGS:-} $flags" cargo build --release --locked --bin dispatcher
    mkdir -p "$WORK" perf/results
}
