#!/bin/sh
# Simulates many seeds, optimised: tests/sim/long_run.sh [SEEDS [START]], a million from 0 on unless told otherwise.
# A run that fails prints its seeds; each is replayed with SEED=… cargo test --test simulation one_seed
set -eu
cd "$(dirname "$0")/../.."
SEEDS="${1:-1000000}" START="${2:-0}" cargo test --locked --release --test simulation no_seed_breaks_a_promise -- --nocapture
