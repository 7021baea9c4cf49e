#!/usr/bin/env bash
# Makes seccomp.json of Docker's default profile, or shows that it is nothing else:
#
#   deploy/seccomp.sh DEFAULT.json > deploy/seccomp.json
#   deploy/seccomp.sh --check DEFAULT.json
#
# DEFAULT.json is profiles/seccomp/default.json of the moby sources. Debian 13 has that of Docker 26 in the package
# golang-github-docker-docker-dev, as /usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json; the one in
# Debian 12 is from before Docker forbade io_uring. Needs jq.
#
# Docker's form has rules that hold for a capability, an architecture or a kernel only. containerd, and so Kubernetes, does not
# know that form: it would take each such rule as one for everybody. So what is made here is the profile as Docker applies it to
# a process without capabilities on x86-64 and arm64, in the form that all engines read, and the three calls of io_uring.
set -euo pipefail

made() {
    jq --indent 1 '
        # What a condition asks for, and whether a process without capabilities on one of the two meets it. The kernels that
        # have io_uring are newer than any that is asked for.
        def of_ours: . == null or any(.[]; IN("amd64", "arm64"));
        def holds:
            (.includes.caps == null) and (.includes.arches | of_ours)
            and ((.excludes.arches == null) or (.excludes.arches | of_ours | not));
        {
            comment: "Docker'"'"'s default for a process without capabilities, and io_uring. Made by deploy/seccomp.sh.",
            defaultAction, defaultErrnoRet,
            architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
            syscalls: (
                [{names: ["io_uring_enter", "io_uring_register", "io_uring_setup"], action: "SCMP_ACT_ALLOW"}]
                + [.syscalls[] | select(holds) | {names, action, errnoRet, args} | del(..|nulls)]
            )
        }' "$1"
}

case "$#:${1:-}" in
    1:-*) ;;
    1:*) made "$1"; exit ;;
    2:--check)
        if jq -e '[.syscalls[].names[] | select(startswith("io_uring"))] != []' "$2" >/dev/null; then
            echo "seccomp: $2 allows io_uring itself: it is older than Docker 25" >&2
            exit 2
        fi
        diff -u <(made "$2") "$(dirname "$0")/seccomp.json"
        echo "seccomp: seccomp.json is $2 and io_uring, nothing else"
        exit ;;
esac
sed -n '2,5p' "$0" >&2
exit 2
