#!/bin/sh
# Installs the servers that tests/real_peers.rs delivers to, the client of tests/tls.rs and the Prometheus (with promtool) of
# tests/prometheus.rs, if this machine lacks them. Where it cannot, it says so and ends with 1.
set -eu
. "$(dirname "$0")/../packages.sh"

need nginx nginx-light nginx.service
need python3 python3
need curl curl
need prometheus prometheus "prometheus.service prometheus-node-exporter.service"
need promtool prometheus
install_missing "real peers"
