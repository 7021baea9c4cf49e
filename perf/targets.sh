#!/usr/bin/env bash
# Prints how the dispatcher stands against its targets, from a file that compare.sh wrote: medians over the rounds of what is
# computed within each round.
#
# usage: perf/targets.sh FILE
set -euo pipefail

awk -F'\t' '
    /^#/ || NF < 2 { next }
    $1 == "round" { for (column = 1; column <= NF; column++) name[column] = $column; next }
    {
        if ($1 > rounds) rounds = $1
        for (column = 4; column <= NF; column++) cell[$1, $2, $3, name[column]] = $column
    }

    # A figure of this round; NONE where it was not measured.
    function figure(scenario, system_name, column, key) {
        key = round SUBSEP scenario SUBSEP system_name SUBSEP column
        return key in cell && cell[key] != "-" ? cell[key] + 0 : NONE
    }
    function ratio(a, b) { return a == NONE || b == NONE || b == 0 ? NONE : a / b }
    function sum(a, b, factor) { return a == NONE || b == NONE ? NONE : a + factor * b }
    function best_queue(column, at, value, best) {
        best = NONE
        for (at = 1; at <= queues; at++) {
            value = figure("closed_64", queue[at], column)
            if (value != NONE && (best == NONE || value > best)) best = value
        }
        return best
    }
    function cpu(scenario, system_name) { return figure(scenario, system_name, "cpu_us/message") }
    function value_of(target, accept) {
        accept = figure("open_200", "dispatcher", "p50_ms")
        if (target == 1) return ratio(cpu("closed_64", "dispatcher"), cpu("closed_64", "nginx_proxy"))
        if (target == 2) return ratio(cpu("closed_64", "dispatcher_accept"), cpu("closed_64", "nginx_202"))
        if (target == 3) return ratio(figure("closed_64", "dispatcher", "done/s"), best_queue("done/s"))
        if (target == 4) return 1000 * sum(sum(accept, figure("open_200", "nginx_202", "p50_ms"), -1), figure("disk", "disk_4k", "p50_ms"), -1)
        if (target == 5) return 1000 * sum(sum(accept, figure("open_200", "nginx_202", "p50_ms"), -1), figure("disk", "disk_4k_200", "p50_ms"), -1)
        if (target == 6) return ratio(figure("half", "dispatcher", "p99_ms"), figure("disk", "disk_4k", "p99_ms"))
        if (target == 7) return ratio(figure("closed_1000", "dispatcher", "done/s"), figure("closed_64", "dispatcher", "done/s"))
        if (target == 8) return ratio(cpu("closed_64", "dispatcher_2_cores"), cpu("closed_64", "dispatcher"))
        if (target == 13) return ratio(cpu("closed_64", "nginx_proxy_2_cores"), cpu("closed_64", "nginx_proxy"))
        if (target == 14) return ratio(cpu("closed_128", "dispatcher_2_cores"), cpu("closed_64", "dispatcher"))
        if (target == 9) return figure("closed_64", "dispatcher", "device_bytes/message")
        if (target == 10) return figure("closed_64", "dispatcher", "rss_idle_mb")
        if (target == 12) return ratio(cpu("closed_64", "dispatcher_plain"), cpu("closed_64", "nginx_proxy"))
        return figure("closed_1000", "dispatcher", "rss_mb")
    }
    function report(target, what, bound, unit, count, at, next_at, held, value, list, middle) {
        for (round = 1; round <= rounds; round++) {
            value = value_of(target)
            # A sum of what is not there is not there either, whatever it was multiplied with.
            if (value <= NONE) continue
            for (at = ++count; at > 1 && list[at - 1] > value; at--) list[at] = list[at - 1]
            list[at] = value
        }
        if (!count) { printf "%-66s %10s  %-8s\n", what, "-", bound; return }
        middle = (list[int((count + 1) / 2)] + list[int(count / 2) + 1]) / 2
        held = bound == "" ? "" : (bound ~ /^>=/ ? middle >= substr(bound, 4) + 0 : middle <= substr(bound, 4) + 0) ? "met" : "not met"
        printf "%-66s %10s  %-8s  %-8s %d rounds, %s to %s\n", what, shown(middle), bound, held, count, shown(list[1]), shown(list[count])
    }
    function shown(value) { return sprintf(value < 10 && value > -10 ? "%.2f" : "%.0f", value) }
    END {
        queues = split("redis postgres rabbitmq beanstalkd nats", queue, " ")
        report(1, "whole path, CPU per message / nginx proxy_pass", "<= 1.0")
        report(12, "  the same, built without a profile", "")
        report(2, "accept only, CPU per message / nginx return 202", "<= 1.3")
        report(3, "whole path, messages per second / best durable queue", ">= 2.5")
        report(4, "202 at 200/s, p50 - (nginx return 202 + O_DSYNC write), us", "<= 30")
        report(5, "  the same, with the disk asked 200 times a second, us", "")
        report(6, "202 at half of its capacity, p99 / O_DSYNC write p99", "<= 3")
        report(7, "messages per second, 1,000 connections / 64", ">= 0.8")
        report(8, "CPU per message, 2 cores / 1 core", "<= 1.05")
        report(14, "  the same, 128 connections / 64", "")
        report(13, "  nginx proxy_pass, 2 cores / 1 core", "")
        report(9, "device bytes per delivered message of 1 KiB", "<= 1331")
        report(10, "resident when idle, MiB", "<= 30")
        report(11, "most resident with 1,000 connections, MiB", "<= 150")
    }
    BEGIN { NONE = -1e9 }' "$1"
