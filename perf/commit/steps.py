#!/usr/bin/env python3
"""Says how long the steps of the log's writes took, from what perf script prints of block and sched_switch events.

usage: perf script --fields comm,pid,cpu,time,event,trace | steps.py

A write with O_DSYNC to a disk with a volatile cache is, for the kernel, the write; on a filesystem without a journal also one
of the file's times, if they have changed; and a flush. The last two are a kernel thread's work, which has to be woken.
"""

import re
import sys

# Of whom a write is the log's: the threads of the daemon.
OURS = re.compile(r"core-\d+$")
EVENT = re.compile(r"\s*(?P<comm>.+?)\s+\d+\s+\[\d+\]\s+(?P<time>[\d.]+):\s+(?:block:block_|sched:sched_)(?P<event>\w+):\s+(?P<what>.*)")
REQUEST = re.compile(r"(?P<device>\d+,\d+) (?P<flags>\w+) (?:\d+ )?\(.*?\) (?P<sector>\d+)")
NEXT = re.compile(r"==> (?:next_comm=)?(?P<comm>kworker\S*)|next_comm=(?P<comm2>kworker\S*)")

WRITE, WAIT, TIMES, FLUSH, END = (
    "the disk writes the batch",
    "until a kernel thread goes on",
    "the disk writes the file's times",
    "the disk empties its cache",
    "until a kernel thread concludes",
)


class Commit:
    """One write, and the moments of its steps, in microseconds."""

    def __init__(self, time, sector):
        self.begun, self.sector = time, sector
        self.written = self.times = self.flush = self.flushed = None


def steps(lines):
    found = {step: [] for step in (WRITE, WAIT, TIMES, FLUSH, END)}
    commit = None
    for line in lines:
        event = EVENT.match(line)
        if not event:
            continue
        time, comm = float(event["time"]) * 1e6, event["comm"]
        if event["event"] == "switch":
            follows = NEXT.search(event["what"])
            if commit and commit.flushed and follows:
                found[END].append(time - commit.flushed)
                commit = None
            continue
        request = REQUEST.match(event["what"])
        if not request:
            continue
        issued, flags, sector = event["event"] == "rq_issue", request["flags"], request["sector"]
        if issued and flags == "WS" and OURS.match(comm):
            commit = Commit(time, sector)
        elif commit is None:
            continue
        elif flags == "WS" and sector == commit.sector and not issued and not commit.written:
            commit.written = time
            found[WRITE].append(time - commit.begun)
        elif not commit.written:
            continue
        elif flags == "WSM" and issued and not commit.times:
            commit.times = time
            found[WAIT].append(time - commit.written)
        elif flags == "WSM" and not issued and commit.times and not commit.flush:
            found[TIMES].append(time - commit.times)
        elif flags.startswith("F") and issued and not commit.flush:
            commit.flush = time
            if not commit.times:
                found[WAIT].append(time - commit.written)
        elif flags.startswith("F") and not issued and commit.flush and not commit.flushed:
            commit.flushed = time
            found[FLUSH].append(time - commit.flush)
    return found


def main():
    print("step\tof_writes\tp50_us\tp90_us\tmean_us")
    found = steps(sys.stdin)
    writes = len(found[WRITE]) or 1
    for step, times in found.items():
        if times:
            times.sort()
            at = lambda part: times[min(len(times) - 1, int(len(times) * part))]
            print(f"{step}\t{len(times) / writes:.2f}\t{at(0.5):.0f}\t{at(0.9):.0f}\t{sum(times) / len(times):.0f}")


if __name__ == "__main__":
    main()
