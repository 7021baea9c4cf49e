# shellcheck shell=bash disable=SC2034 # What is unused here, compare.sh uses.
# The systems that perf/compare.sh compares: how each is started with a given origin, pinned to DAEMON_CORES, with its data
# below $WORK. Sourced, not run.
#
# start_<system> puts the address to send to in TARGET, further options of load in OPTIONS, and the pids to measure and to
# stop in SYSTEM; VERIFY is "" where nothing is delivered. It fails, with a line that says why, where the system cannot run.

PATH=$PATH:/usr/sbin:/usr/local/sbin
TARGET=
VERIFY=yes
OPTIONS=()
# How a process wants to be asked to end, where that is not TERM.
declare -A STOP_SIGNAL=()
STOP_SECONDS_MAX=20

# A program that a system needs.
needs() {
    command -v "$1" >/dev/null || { echo "$1 is not installed (perf/peers/install.sh)" >&2 && return 1; }
}

# A port on which nothing listens, below those that the kernel gives away by itself. For servers that cannot take port 0
# or do not say what they got.
free_port() {
    local port
    while port=$((20000 + RANDOM % 10000)) && (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}

# Waits until something accepts on port $1 of the loopback, up to $2 seconds.
await_port() {
    local _
    for _ in $(seq $(($2 * 20))); do
        (: >"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
        sleep 0.05
    done
    echo "nothing listens on port $1 after $2 s" >&2
    return 1
}

# Runs a command as a part of the system under test; its output goes to $WORK/$1.out.
launch() {
    local output=$WORK/$1.out
    shift
    : >"$output"
    taskset -c "$DAEMON_CORES" "$@" >"$output" 2>&1 &
    SYSTEM+=($!)
}

has_ended() {
    [ ! -e "/proc/$1" ] || grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null
}

# Stops what launch started, last first: an ingress before its store.
stop_system() {
    local at pid
    for ((at = ${#SYSTEM[@]} - 1; at >= 0; at--)); do
        pid=${SYSTEM[at]}
        kill "-${STOP_SIGNAL[$pid]:-TERM}" "$pid" 2>/dev/null || true
        for _ in $(seq $((STOP_SECONDS_MAX * 20))); do
            has_ended "$pid" && break
            sleep 0.05
        done
        has_ended "$pid" || kill -9 "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    SYSTEM=()
    DAEMON=
}

stop_all() {
    stop_system
    stop
}
trap stop_all EXIT

# Sends to the started system. Arguments: further options of load.
load() {
    taskset -c "$LOAD_CORES" target/release/examples/load --target "$TARGET" "${OPTIONS[@]}" --json "$@"
}

# Workers of nginx.
WORKERS=1

# nginx. $1: what location / does; $2: further blocks of http.
start_nginx() {
    local port directory
    needs nginx || return 1
    port=$(free_port)
    directory=$(realpath "$WORK")/nginx
    rm -rf "$directory"
    mkdir -p "$directory"
    cat >"$directory/nginx.conf" <<END
daemon off;
worker_processes $WORKERS;
worker_rlimit_nofile $(ulimit -n);
pid $directory/pid;
error_log stderr;
events { worker_connections 8192; }
http {
    access_log off;
    client_body_temp_path $directory/body;
    proxy_temp_path $directory/proxy;
    fastcgi_temp_path $directory/fastcgi;
    uwsgi_temp_path $directory/uwsgi;
    scgi_temp_path $directory/scgi;
    keepalive_requests 1000000000;
    keepalive_time 1d;
    $2
    server {
        listen 127.0.0.1:$port backlog=4096;
        location / { $1 }
    }
}
END
    launch nginx nginx -e stderr -p "$directory" -c "$directory/nginx.conf"
    await_port "$port" 10 || return 1
    TARGET=127.0.0.1:$port
}

start_nginx_202() {
    VERIFY=
    start_nginx "return 202;" ""
}

start_nginx_proxy() {
    start_nginx "proxy_pass http://sink; proxy_http_version 1.1; proxy_set_header Connection \"\";" \
        "upstream sink { server $ORIGIN; keepalive 1024; keepalive_requests 1000000000; keepalive_time 1d; }"
}

# What becomes of nginx's CPU time per message where it has both cores, and load and sink on them.
start_nginx_proxy_2_cores() {
    local DAEMON_CORES=0-1 WORKERS=2
    start_nginx_proxy
}

# The dispatcher with the variables in the arguments.
start_dispatcher_with() {
    rm -rf "$WORK/log"
    start_daemon "$@" || return 1
    SYSTEM=("$DAEMON")
}

start_dispatcher() {
    OPTIONS=(--origin "$ORIGIN")
    start_dispatcher_with CORES=1
}

# As built without PROFILE.
PLAIN=target/release/dispatcher-plain
start_dispatcher_plain() {
    local BINARY=$PLAIN
    [ -n "$PROFILE" ] || { echo "no PROFILE is given, so that dispatcher is the same" >&2 && return 1; }
    start_dispatcher
}

# On all cores, those of load and sink too: only its CPU time per message says something.
start_dispatcher_2_cores() {
    local DAEMON_CORES=0-1
    OPTIONS=(--origin "$ORIGIN")
    start_dispatcher_with CORES=2
}

# Accepts and delivers nothing: nothing listens at the origin, the first failure, in the warm-up, opens its circuit, and
# then a single message is tried after 1, 2, 4, … 60 s, however many wait. Its messages may fill the log and the memory.
start_dispatcher_accept() {
    VERIFY=
    OPTIONS=(--origin 127.0.0.1:1)
    start_dispatcher_with CORES=1 BREAKER_FAILURES=1 ORIGIN_LOG_SHARE=1 MAX_MEMORY=2GiB
}

# The ingress and worker before queue $1, which is at port $2.
start_peer() {
    [ -x target/peers/release/peers ] || { echo "target/peers/release/peers was not built" >&2 && return 1; }
    launch peer target/peers/release/peers --queue "$1" --address "127.0.0.1:$2" --origin "$ORIGIN" || return 1
    await "$WORK/peer.out" '^listening' || return 1
    TARGET=$(sed -n 's/^listening //p' "$WORK/peer.out" | head -n 1)
}

# An empty directory of a server, readable by user $2 if we are root; its path is in DIRECTORY.
fresh() {
    DIRECTORY=$(realpath "$WORK")/$1
    rm -rf "$DIRECTORY"
    mkdir -p "$DIRECTORY"
    [ "$(id -u)" -ne 0 ] || [ -z "${2:-}" ] || chown "$2" "$DIRECTORY"
}

start_redis() {
    local port
    needs redis-server || return 1
    port=$(free_port)
    fresh redis
    launch redis redis-server --bind 127.0.0.1 --port "$port" --dir "$DIRECTORY" --save "" --appendonly yes \
        --appendfsync always --daemonize no --stop-writes-on-bgsave-error no
    await_port "$port" 10 || return 1
    start_peer redis "$port"
}

start_postgres() {
    local port programs as_user=()
    # It refuses to run as root: then it runs as the user that its package has made.
    [ "$(id -u)" -ne 0 ] || as_user=(setpriv --reuid=postgres --regid=postgres --init-groups)
    programs=$(find /usr/lib/postgresql -name initdb -printf '%h\n' 2>/dev/null | sort -V | tail -n 1)
    [ -n "$programs" ] || { echo "PostgreSQL is not installed (perf/peers/install.sh)" >&2 && return 1; }
    port=$(free_port)
    DIRECTORY=$(realpath "$WORK")/postgres
    # Made once a run; the ingress begins with an empty table.
    if [ ! -e "$DIRECTORY/made" ]; then
        fresh postgres postgres
        "${as_user[@]}" "$programs/initdb" -D "$DIRECTORY" -U postgres -A trust >"$WORK/initdb.out" || return 1
        : >"$DIRECTORY/made"
    fi
    # wal_level: nothing else reads this log. min_wal_size: its files are used again rather than made anew.
    launch postgres "${as_user[@]}" "$programs/postgres" -D "$DIRECTORY" -c listen_addresses=127.0.0.1 -c port="$port" \
        -c unix_socket_directories= -c wal_level=minimal -c max_wal_senders=0 -c min_wal_size=1GB -c max_wal_size=4GB
    STOP_SIGNAL[${SYSTEM[-1]}]=INT
    await "$WORK/postgres.out" 'ready to accept connections' 30 || return 1
    start_peer postgres "$port"
}

# RabbitMQ's own wrapper runs it as the user of its package and with the machine's data; this is what it wraps.
start_rabbitmq() {
    local port epmd_port server=/usr/lib/rabbitmq/bin/rabbitmq-server
    [ -x "$server" ] || { echo "RabbitMQ is not installed (perf/peers/install.sh)" >&2 && return 1; }
    epmd_port=$(free_port)
    port=$(free_port)
    fresh rabbitmq
    launch epmd epmd -port "$epmd_port" -address 127.0.0.1
    await_port "$epmd_port" 10 || return 1
    # RUNNING_UNDER_SYSTEMD: the server is our child, not that of a script which waits for it.
    launch rabbitmq env HOME="$DIRECTORY" ERL_EPMD_PORT="$epmd_port" ERL_EPMD_ADDRESS=127.0.0.1 RUNNING_UNDER_SYSTEMD=1 \
        RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CONFIG_FILE="$DIRECTORY/none" RABBITMQ_NODENAME=peers@localhost \
        RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$port" RABBITMQ_DIST_PORT="$(free_port)" \
        RABBITMQ_MNESIA_BASE="$DIRECTORY/mnesia" RABBITMQ_LOG_BASE="$DIRECTORY/log" RABBITMQ_LOGS=- \
        RABBITMQ_ENABLED_PLUGINS_FILE="$DIRECTORY/plugins" RABBITMQ_PID_FILE="$DIRECTORY/pid" "$server"
    await "$WORK/rabbitmq.out" 'Server startup complete' 120 || return 1
    start_peer rabbitmq "$port"
}

start_beanstalkd() {
    local port
    needs beanstalkd || return 1
    port=$(free_port)
    fresh beanstalkd
    launch beanstalkd beanstalkd -l 127.0.0.1 -p "$port" -b "$DIRECTORY" -f0
    await_port "$port" 10 || return 1
    start_peer beanstalkd "$port"
}

# A NATS server that can sync before it confirms: "sync_interval: always", which came after the version of Debian 12.
start_nats() {
    local port server=${NATS_SERVER:-nats-server}
    needs "$server" || return 1
    port=$(free_port)
    fresh nats
    cat >"$DIRECTORY/nats.conf" <<END
listen: 127.0.0.1:$port
jetstream { store_dir: "$DIRECTORY", sync_interval: always }
END
    "$server" -c "$DIRECTORY/nats.conf" -t >"$WORK/nats.out" 2>&1 || {
        echo "$("$server" --version) cannot sync before it confirms: $(head -n 1 "$WORK/nats.out")" >&2
        return 1
    }
    launch nats "$server" -c "$DIRECTORY/nats.conf"
    await_port "$port" 10 || return 1
    start_peer nats "$port"
}
