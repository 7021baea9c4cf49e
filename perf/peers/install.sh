#!/bin/sh
# Installs what perf/compare.sh compares with and what it measures the disk with, if this machine lacks it: Debian's packages,
# as root or by a sudo that asks for no password. Starts no service, and leaves none of those it installed enabled: the
# comparison starts its own. What cannot be installed is said; the comparison then leaves that system out.
set -eu

PATH=$PATH:/usr/sbin:/usr/local/sbin
packages=
services=
# A program, its package, and the services that come with it.
need() {
    command -v "$1" >/dev/null && return
    packages="$packages $2"
    services="$services $3"
}
need nginx nginx-light nginx.service
need redis-server redis-server redis-server.service
need pg_createcluster postgresql postgresql.service
need rabbitmq-server rabbitmq-server "rabbitmq-server.service epmd.socket epmd.service"
need beanstalkd beanstalkd "beanstalkd.socket beanstalkd.service"
need nats-server nats-server nats-server.service
need fio fio ""
need curl curl ""
[ -n "$packages" ] || exit 0

cannot() {
    echo "peers:$packages not installed: $1" >&2
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

echo "peers: installing$packages"
as_root apt-get update -qq || cannot "apt-get update failed"
failed=0
# One by one: a package that this release does not have keeps no other from being installed.
for package in $packages; do
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null || {
        echo "peers: $package not installed" >&2
        failed=1
    }
done
if command -v systemctl >/dev/null; then
    for service in $services; do
        as_root systemctl disable --quiet "$service" 2>/dev/null || true
    done
fi
exit "$failed"
