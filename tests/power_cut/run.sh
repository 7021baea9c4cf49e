#!/bin/sh
# Runs a proof as root: tests/power_cut/run.sh power_cut [options], or: tests/power_cut/run.sh full_disk [options].
#
# It installs from apt what is missing, builds the daemon, and runs the proof in namespaces of its own: its mounts, loop
# devices, processes and ports end with it, however it ends, and its traffic cannot leave the machine.
#
# DISPATCHER: a binary to test instead of the one that is built. WORK_SIZE: memory for disks and the log of writes.
set -eu
cd "$(dirname "$0")/../.."

WORK_SIZE=${WORK_SIZE:-4G}
if [ $# -eq 0 ] || ! [ -f "tests/power_cut/$1.py" ]; then
    sed -n '2s/^# //p' "$0" >&2
    exit 2
fi
[ "$(id -u)" -eq 0 ] || { echo "run.sh: mounting needs root" >&2; exit 2; }

# Prints the packages for the commands that are missing.
missing() {
    while read -r command package; do
        command -v "$command" >/dev/null || echo "$package"
    done <<-LIST
	fusermount3 fuse3
	ip iproute2
	mkfs.ext4 e2fsprogs
	mount mount
	python3 python3
	qemu-storage-daemon qemu-system-common
	setpriv util-linux
	unshare util-linux
	LIST
}

packages=$(missing)
if [ -n "$packages" ]; then
    apt-get update -qq
    # shellcheck disable=SC2086 # Words are packages.
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages
fi

if [ -z "${DISPATCHER:-}" ]; then
    cargo build --release --locked --bin dispatcher
    DISPATCHER=${CARGO_TARGET_DIR:-target}/release/dispatcher
fi
DISPATCHER=$(realpath "$DISPATCHER")
WORK=$(mktemp -d)
export DISPATCHER WORK WORK_SIZE PYTHONDONTWRITEBYTECODE=1

# The disks are in a tmpfs that only the namespace sees, so they vanish with it too.
setpriv --pdeathsig KILL unshare --mount --net --pid --fork --kill-child --mount-proc sh -ec '
    mount -t tmpfs -o "size=$WORK_SIZE" power_cut "$WORK"
    ip link set lo up
    PYTHONPATH=tests/power_cut python3 -m unittest -q test_pieces
    proof=$1
    shift
    exec python3 "tests/power_cut/$proof.py" "$@"
' sh "$@" &
proof=$!

# Asks the proof to undo what it did. It is the only child of `unshare`, which would not pass the signal on.
interrupt() {
    kill -INT "$(tr -d ' ' <"/proc/$proof/task/$proof/children")" || true
    wait "$proof" || true
    exit 130
}

trap 'rmdir "$WORK"' EXIT
trap interrupt INT TERM
wait "$proof"
