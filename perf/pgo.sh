#!/usr/bin/env bash
# Builds the daemon with what it does under load in mind (rustc's profile-guided optimisation): measures where its time goes in
# the scenarios of run.sh and after a kill -9, and builds it once more with that. See README.md for what it saves.
#
# usage: perf/pgo.sh
# Leaves the profile in target/pgo/dispatcher.profdata, for PROFILE of the other scripts and for the Dockerfile, and the daemon
# in target/release/dispatcher, where the next plain `cargo build --release` puts its own. A profile is of one version of the
# compiler; where the source has changed since, functions that differ are built without.
# Adds rustup's component llvm-tools where it is missing. Takes two builds and five minutes. WORK: see run.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
. perf/lib.sh

MADE=target/pgo/dispatcher.profdata
RAW=$PWD/target/pgo/raw
MESSAGES=200000
PROFILE=

profdata() {
    local tool
    tool=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/llvm-profdata
    [ -x "$tool" ] || rustup component add llvm-tools >&2
    "$tool" "$@"
}

profdata --version >/dev/null
rm -rf "$RAW"
mkdir -p "$RAW"
export DAEMON_FLAGS="-Cprofile-generate=$RAW"
build
# What programs that ran during the build have left.
rm -f "$RAW"/*
FILE=$WORK/pgo-run.tsv perf/run.sh short
FILE=$WORK/pgo-backlog.tsv perf/backlog.sh "$MESSAGES"
profdata merge --sparse -o "$MADE" "$RAW"/*.profraw
rm -rf "$RAW" "$WORK"/pgo-*.tsv
unset DAEMON_FLAGS
PROFILE=$MADE build
echo "target/release/dispatcher is built with $MADE"
