#!/bin/sh
# Installs what perf/compare.sh compares with and what it measures the disk with, if this machine lacks it: the comparison
# starts its own servers. What cannot be installed is said; the comparison then leaves that system out.
set -eu
. "$(dirname "$0")/../../tests/packages.sh"

need nginx nginx-light nginx.service
need redis-server redis-server redis-server.service
need pg_createcluster postgresql postgresql.service
need rabbitmq-server rabbitmq-server "rabbitmq-server.service epmd.socket epmd.service"
need beanstalkd beanstalkd "beanstalkd.socket beanstalkd.service"
need nats-server nats-server nats-server.service
need fio fio
need cyclictest rt-tests
need curl curl
install_missing peers
