#!/bin/sh
# Installs the servers that tests/real_peers.rs delivers to, the client of tests/tls.rs and the Prometheus (with promtool) of
# tests/prometheus.rs, if this machine lacks them: Debian's packages, as root or by a sudo that asks for no password. Starts
# no service. Where it cannot, it says so and ends with 1.
set -eu

PATH=$PATH:/usr/sbin:/usr/local/sbin
packages=
command -v nginx >/dev/null || packages="nginx-light"
command -v python3 >/dev/null || packages="$packages python3"
command -v curl >/dev/null || packages="$packages curl"
{ command -v prometheus && command -v promtool; } >/dev/null || packages="$packages prometheus"
[ -n "$packages" ] || exit 0

cannot() {
    echo "real peers: $packages not installed: $1" >&2
    exit 1
}

command -v apt-get >/dev/null || cannot "no apt-get here"
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}
as_root true 2>/dev/null || cannot "neither root nor a sudo without a password"

# Packages ask this file whether they may start their service. Where there is none yet, ours says no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'as_root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
fi

echo "real peers: installing $packages"
as_root apt-get update -qq || cannot "apt-get update failed"
# shellcheck disable=SC2086 # Two words are two packages.
as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null ||
    cannot "apt-get install failed"
