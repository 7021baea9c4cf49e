#!/usr/bin/env bash
# Shows the unit under a real systemd, in a container without a network: that it is clean, starts on io_uring within its hardening,
# delivers, reloads, comes back after kill -9 and not after exit status 2, stops in the time it needs, and is watched.
#
#   DISPATCHER=target/release/dispatcher deploy/systemd/test.sh
#
# ENGINE: podman, with its options. Needs root and debootstrap, and installs Debian into a temporary directory: some minutes. Where
# crun says that cgroups in hybrid mode are not supported, see deploy/container-test.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."

read -ra engine <<<"${ENGINE:-podman}"
binary=${DISPATCHER:-target/release/dispatcher}
name=dispatcher-systemd-$$
work=$(mktemp -d)
clean_up() {
    status=$?
    "${engine[@]}" rm -f -t 0 "$name" >/dev/null 2>&1 || true
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT

debootstrap --variant=minbase --include=systemd,curl,perl-base,procps bookworm "$work/root" >"$work/log" ||
    { tail -n 20 "$work/log" >&2; exit 1; }
install -m 755 "$binary" "$work/root/usr/local/bin/dispatcher"
# As the unit says it is installed.
install -m 644 deploy/systemd/dispatcher.sysusers "$work/root/usr/lib/sysusers.d/dispatcher.conf"
chroot "$work/root" systemd-sysusers
install -m 644 deploy/systemd/dispatcher.service "$work/root/etc/systemd/system/"
install -D -m 640 deploy/systemd/dispatcher.env "$work/root/etc/dispatcher/dispatcher.env"
chroot "$work/root" chgrp dispatcher /etc/dispatcher/dispatcher.env

"${engine[@]}" run -d --name "$name" --systemd=always --network=none --privileged --rootfs "$work/root" /lib/systemd/systemd >/dev/null
for _ in $(seq 100); do
    "${engine[@]}" exec "$name" systemctl is-system-running 2>/dev/null | grep -Eq 'running|degraded' && break
    sleep 0.2
done

"${engine[@]}" exec -i "$name" bash -s <<'INSIDE'
set -euo pipefail
say() { echo "systemd-test: $*"; }
fail() { say "$*" >&2; journalctl -u dispatcher -o cat --no-pager -n 20 >&2; exit 1; }
is() { # property value
    local value
    value=$(systemctl show dispatcher -p "$1" --value)
    [ "$value" = "$2" ] || fail "$1 is $value, not $2"
}
until_is() { # property value: within 20 s
    for _ in $(seq 100); do
        [ "$(systemctl show dispatcher -p "$1" --value)" = "$2" ] && return
        sleep 0.2
    done
    is "$1" "$2"
}
pid() { systemctl show dispatcher -p MainPID --value; }
drop_in() {
    mkdir -p /etc/systemd/system/dispatcher.service.d
    printf '[Service]\n%s\n' "$1" >/etc/systemd/system/dispatcher.service.d/test.conf
    systemctl daemon-reload
}

verified=$(systemd-analyze verify /etc/systemd/system/dispatcher.service 2>&1) || true
[ -z "$verified" ] || fail "systemd-analyze verify: $verified"
say "$(systemd-analyze security --offline=true /etc/systemd/system/dispatcher.service | tail -n 1 | tr -cd '[:print:]')"

systemctl start dispatcher
[ "$(curl -s -o /dev/null -w '%{http_code}' localhost:8080/-/ready)" = 200 ] || fail "started and not ready"
is StatusText "Taking messages"
journalctl -u dispatcher -o cat --no-pager | grep -q 'backend="uring"' || fail "not on io_uring"
curl -s -o /dev/null -H 'X-Dispatcher-Origin-Host: 127.0.0.1:8081' localhost:8080/-/healthy
for _ in $(seq 100); do
    curl -s localhost:8081/metrics | grep -q '^dispatcher_delivered_total 1$' && break
    sleep 0.1
done
curl -s localhost:8081/metrics | grep -q '^dispatcher_delivered_total 1$' || fail "a message is not delivered"
say "started on io_uring as uid $(awk '/^Uid:/ { print $2 }' "/proc/$(pid)/status"), ready; a message went from end to end"

systemctl reload dispatcher
until_is SubState running
say "reloaded"

kill -KILL "$(pid)"
until_is NRestarts 1
until_is SubState running
say "kill -9: started again"

drop_in WatchdogSec=3
systemctl restart dispatcher
kill -STOP "$(pid)"
until_is NRestarts 1
until_is SubState running
journalctl -u dispatcher -o cat --no-pager | grep -q 'Watchdog timeout' || fail "the watchdog did not bite"
say "a process that stands still: ended by the watchdog, started again"

# An origin that takes connections and never answers, and a stop that takes longer than the unit says.
perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1", LocalPort => 9000) or die;
    while ($c = $s->accept) { push @kept, $c }' &
echo SHUTDOWN_TIMEOUT=6s >>/etc/dispatcher/dispatcher.env
drop_in TimeoutStopSec=2
systemctl restart dispatcher
curl -s -o /dev/null -H 'X-Dispatcher-Origin-Host: 127.0.0.1:9000' -H 'X-Dispatcher-Timeout: 60s' localhost:8080/
sleep 1
systemctl stop dispatcher
is Result success
is ExecMainStatus 0
say "a stop that takes longer than TimeoutStopSec: exit status 0"
kill %1

echo MAX_BODY=x >>/etc/dispatcher/dispatcher.env
systemctl start dispatcher 2>/dev/null && fail "started with a variable that cannot be used"
sleep 3
is ExecMainStatus 2
is NRestarts 0
say "exit status 2: not started again"
say "all is as the README says"
INSIDE
