#!/usr/bin/env bash
# Shows with a real engine what the README says of the image: that it is built, runs as nobody on a read-only root, delivers on
# io_uring with seccomp.json and without it on the portable backend, stops in order, and loses nothing by kill -9.
#
#   deploy/container-test.sh                 # builds the image first
#   IMAGE=dispatcher deploy/container-test.sh
#
# ENGINE: the command, podman or docker, with its options. BUILD_OPTIONS, RUN_OPTIONS: more for its build and run. It must run
# on this machine, as the network of the host is used: nothing but loopback is. Needs curl and python3. Takes a minute, and some
# more for the build.
#
# Without a registry of images: deploy/base-images.sh first, then BUILD_OPTIONS="--pull=never --network=host". Where crun says that
# cgroups in hybrid mode are not supported: unshare -m sh -c 'umount /sys/fs/cgroup/unified; deploy/container-test.sh'.
set -euo pipefail
cd "$(dirname "$0")/.."

read -ra engine <<<"${ENGINE:-podman}"
read -ra build_options <<<"${BUILD_OPTIONS:-}"
read -ra run_options <<<"${RUN_OPTIONS:-}"
name=dispatcher-test-$$
work=$(mktemp -d)
receiver_pid=

clean_up() {
    status=$?
    if [ "$status" -ne 0 ]; then
        "${engine[@]}" logs "$name" 2>&1 | tail -n 20 >&2 || true
    fi
    "${engine[@]}" rm -f "$name" >/dev/null 2>&1 || true
    "${engine[@]}" volume rm -f "$name" >/dev/null 2>&1 || true
    [ -z "$receiver_pid" ] || kill "$receiver_pid" || true
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT

say() { echo "container-test: $*"; }
fail() {
    say "$*" >&2
    exit 1
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Answers 200, to /slow after three seconds; writes a line when a request has come, and one when it has been answered.
receive() {
    python3 -u - "$1" >>"$work/received" 2>"$work/receiver" <<'PYTHON' &
import http.server, os, sys, time

# In one write, as several threads do it.
def say(*words):
    os.write(1, (" ".join(words) + "\n").encode())

class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        say("came", self.path, body)
        time.sleep(3 if self.path == "/slow" else 0)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        say("answered", self.path, body)

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
PYTHON
    receiver_pid=$!
}

# Up to 30 s; the body of each message is its own, so that one is not taken for another.
until_received() { # line
    for _ in $(seq 300); do
        grep -qx "$1" "$work/received" && return
        sleep 0.1
    done
    fail "in vain waited for: $1"
}

send() { # path body
    local status
    status=$(curl -s -o /dev/null -w '%{http_code}' -H "X-Dispatcher-Origin-Host: 127.0.0.1:$origin_port" -d "$2" \
        "http://127.0.0.1:$port$1")
    [ "$status" = 202 ] || fail "a message was answered with $status"
}

run() { # options of the engine...
    "${engine[@]}" run -d --name "$name" --network=host --read-only --cap-drop=all --security-opt no-new-privileges \
        -v "$name:/var/lib/dispatcher" -e LISTEN="127.0.0.1:$port" -e ADMIN_LISTEN=127.0.0.1:0 -e CORES=1 \
        -e SEGMENT_BYTES=32MiB -e BACKOFF_MAX=1s "${run_options[@]}" "$@" "$image" >/dev/null
}

until_ready() {
    for _ in $(seq 300); do
        [ "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/-/ready")" = 200 ] && return
        sleep 0.1
    done
    fail "it is not ready"
}

logged() { # text
    "${engine[@]}" logs "$name" 2>&1 | grep -F -- "$1" >/dev/null || fail "the log does not say: $1"
}

exit_status() { "${engine[@]}" wait "$name"; }

image=${IMAGE:-}
if [ -z "$image" ]; then
    image=$name
    "${engine[@]}" build "${build_options[@]}" -t "$image" .
fi
port=$(free_port) origin_port=$(free_port)
touch "$work/received"

[ -n "$("${engine[@]}" image inspect --format '{{.Config.User}}' "$image")" ] || fail "the image runs as root"
status=0
"${engine[@]}" run --rm --network=host --entrypoint /bin/sh "$image" -c true 2>/dev/null || status=$?
# 127: there is no such program; another failure would prove nothing.
[ "$status" = 127 ] || fail "the image may have a shell: exit status $status"
say "the image has a user of its own and no shell"

receive "$origin_port"
run --security-opt seccomp=deploy/seccomp.json
until_ready
logged 'backend="uring"'
pid=$("${engine[@]}" inspect --format '{{.State.Pid}}' "$name")
read -r _ user _ < <(grep ^Uid: "/proc/$pid/status")
[ "$user" -ne 0 ] || fail "it runs as root"
grep -q '^Seccomp:[[:space:]]*2$' "/proc/$pid/status" || fail "it runs without a filter of system calls"
grep -q '^CapEff:[[:space:]]*0*$' "/proc/$pid/status" || fail "it has capabilities"
awk '$2 == "/" && $4 ~ /^ro,/ { found = 1 } END { exit !found }' "/proc/$pid/mounts" || fail "its root can be written"
send /fast first
until_received "answered /fast first"
say "with seccomp.json: io_uring, uid $user, no capability, read-only root; a message went from end to end"

send /slow second
until_received "came /slow second"
"${engine[@]}" stop -t 35 "$name" >/dev/null
[ "$(exit_status)" = 0 ] || fail "SIGTERM: exit status $(exit_status)"
grep -qx "answered /slow second" "$work/received" || fail "SIGTERM cut an attempt off"
logged 'delivered=2 dead_lettered=0 ready=0 in_flight=0'
say "SIGTERM as PID 1: the attempt in flight ended, exit status 0"

kill "$receiver_pid"
wait "$receiver_pid" 2>/dev/null || true
receiver_pid=
"${engine[@]}" start "$name" >/dev/null
until_ready
for number in $(seq 50); do
    send /fast "waiting-$number"
done
"${engine[@]}" kill -s KILL "$name" >/dev/null
exit_status >/dev/null
receive "$origin_port"
"${engine[@]}" start "$name" >/dev/null
until_ready
for number in $(seq 50); do
    until_received "answered /fast waiting-$number"
done
say "kill -9 with 50 messages waiting: after a start on the same volume all 50 are delivered"

"${engine[@]}" rm -f "$name" >/dev/null
run
until_ready
logged 'backend="portable"'
logged '--security-opt seccomp=deploy/seccomp.json'
send /fast third
until_received "answered /fast third"
say "without seccomp.json: the portable backend, and a warning that names the remedy; a message went from end to end"

"${engine[@]}" rm -f "$name" >/dev/null
run -e IO_BACKEND=uring
[ "$(exit_status)" = 2 ] || fail "IO_BACKEND=uring without io_uring: exit status $(exit_status)"
logged '--security-opt seccomp=deploy/seccomp.json'
say "IO_BACKEND=uring without seccomp.json: exit status 2, and the remedy"
say "all is as the README says"
