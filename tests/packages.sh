# What the scripts share that install programs: Debian's packages, as root or by a sudo that asks for no password. No service is
# started, and none of those that were installed is left enabled. Sourced, not run.

PATH=$PATH:/usr/sbin:/usr/local/sbin
packages=
services=

# Notes that a program is missing. Arguments: the program, its package, the services that come with it.
need() {
    command -v "$1" >/dev/null && return
    packages="$packages $2"
    services="$services ${3:-}"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

cannot() {
    echo "$who:$packages not installed: $1" >&2
    exit 1
}

# Installs what is missing, and ends the script: with 1, and word of it, if something could not be had. Argument: for whom.
install_missing() {
    who=$1
    [ -n "$packages" ] || exit 0
    command -v apt-get >/dev/null || cannot "no apt-get here"
    as_root true 2>/dev/null || cannot "neither root nor a sudo without a password"
    # Packages ask this file whether they may start their service. Where there is none yet, ours says no.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'as_root rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    echo "$who: installing$packages"
    as_root apt-get update -qq || cannot "apt-get update failed"
    failed=0
    # One by one: a package that this release does not have keeps no other from being installed.
    for package in $packages; do
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null || {
            echo "$who: $package not installed" >&2
            failed=1
        }
    done
    if command -v systemctl >/dev/null; then
        for service in $services; do
            as_root systemctl disable --quiet "$service" 2>/dev/null || true
        done
    fi
    exit "$failed"
}
