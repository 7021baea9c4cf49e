#!/usr/bin/env bash
# Makes stand-ins for the two base images of the Dockerfile, out of Debian's packages and the Rust toolchain of this machine: to
# build and test the image where no registry of images can be reached.
#
#   deploy/base-images.sh podman
#
# Options of podman may follow. Needs root, debootstrap, and cargo of the version in
# rust-toolchain.toml.
set -euo pipefail
cd "$(dirname "$0")/.."

rust_image=$(sed -n 's/^FROM \(.*\) AS build$/\1/p' Dockerfile)
run_image=$(sed -n 's/^FROM \([^ ]*\)$/\1/p' Dockerfile)
suite=bookworm
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# As the official image has it: Debian, a C compiler, Rust.
rust_root() {
    debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev "$suite" "$work/rust" >"$work/log" ||
        { tail -n 20 "$work/log" >&2; exit 1; }
    local sysroot
    sysroot=$(rustc --print sysroot)
    cp -a "$sysroot/bin" "$sysroot/lib" "$work/rust/usr/local/"
    # Here and in the other image: what this machine trusts, which may be more where a proxy stands before the registry.
    cp -L /etc/ssl/certs/ca-certificates.crt "$work/rust/etc/ssl/certs/"
}

# As distroless has it: the libraries, certificates, time zones and a user; no shell and no package manager.
run_root() {
    mkdir -p "$work/run/etc/ssl/certs" "$work/run/home/nonroot" "$work/run/tmp" "$work/debs"
    (
        cd "$work/debs"
        apt-get download -qq -o APT::Sandbox::User=root libc6 libgcc-s1 netbase tzdata
        for package in *.deb; do
            dpkg-deb -x "$package" "$work/run"
        done
    )
    cp -L /etc/ssl/certs/ca-certificates.crt "$work/run/etc/ssl/certs/"
    printf '%s\n' root:x:0:0:root:/root:/sbin/nologin nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin \
        >"$work/run/etc/passwd"
    printf '%s\n' root:x:0: nonroot:x:65532: >"$work/run/etc/group"
    chmod 1777 "$work/run/tmp"
    chown 65532:65532 "$work/run/home/nonroot"
}

import() { # name root changes...
    local name=$1 root=$2
    shift 2
    tar -C "$root" -c . | "${engine[@]}" import "$@" - "$name" >/dev/null
    echo "base-images: $name"
}

[ "$#" -gt 0 ] || { sed -n '5p' "$0" >&2; exit 2; }
engine=("$@")
rust_root
import "$rust_image" "$work/rust" --change ENV=PATH=/usr/local/bin:/usr/bin:/bin
run_root
import "$run_image" "$work/run" --change USER=65532 --change WORKDIR=/home/nonroot \
    --change ENV=SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
