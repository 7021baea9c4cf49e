#!/bin/sh
# Makes a fresh Debian ready to build and test: build tools, Rust, and the log's own disk. Can be run again at any time.
#
# LOG_DISK, LOG_MOUNT: the disk and where it is mounted. BUILD_USER: who builds and owns the log.
set -eu

LOG_DISK=${LOG_DISK:-/dev/vdb}
LOG_MOUNT=${LOG_MOUNT:-/var/lib/dispatcher}
BUILD_USER=${BUILD_USER:-vagrant}
LABEL=dispatcher-log

id "$BUILD_USER" >/dev/null 2>&1 || BUILD_USER=root
BUILD_HOME=$(getent passwd "$BUILD_USER" | cut -d: -f6)

install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends ca-certificates curl e2fsprogs gcc git libc6-dev mount util-linux
}

# A cargo that is there is used as it is: rustup then takes the version of rust-toolchain.toml by itself. Debian's own is
# too old for this crate.
install_rust() {
    if [ -x "$BUILD_HOME/.cargo/bin/cargo" ] || command -v cargo >/dev/null; then
        echo "provision: cargo is there"
        return
    fi
    curl --proto '=https' --tlsv1.2 -fsS -o /tmp/rustup-init.sh https://sh.rustup.rs
    runuser -u "$BUILD_USER" -- env HOME="$BUILD_HOME" sh /tmp/rustup-init.sh -y --no-modify-path --profile minimal \
        --component clippy --component rustfmt
    rm /tmp/rustup-init.sh
    ln -sf "$BUILD_HOME"/.cargo/bin/* /usr/local/bin/
}

# A disk with any content is left as it is.
mount_log_disk() {
    if ! [ -b "$LOG_DISK" ]; then
        echo "provision: no disk $LOG_DISK; the log will be on the root disk"
        return
    fi
    content=0
    blkid -p "$LOG_DISK" >/dev/null 2>&1 || content=$?
    # 2: nothing was found on it. Other errors are no leave to format.
    if [ "$content" -eq 2 ]; then
        mkfs.ext4 -q -L "$LABEL" "$LOG_DISK"
    fi
    mkdir -p "$LOG_MOUNT"
    grep -q "^LABEL=$LABEL " /etc/fstab || echo "LABEL=$LABEL $LOG_MOUNT ext4 noatime,nofail 0 2" >>/etc/fstab
    mountpoint -q "$LOG_MOUNT" || mount -o noatime "$LOG_DISK" "$LOG_MOUNT"
    chown "$BUILD_USER" "$LOG_MOUNT"
}

install_packages
install_rust
mount_log_disk
echo "provision: ready"
