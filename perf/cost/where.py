#!/usr/bin/env python3
"""Says where the cost of a message is, from what valgrind wrote.

usage: where.py CALLGRIND_FILE MESSAGES

Instructions per message, by function, without what it calls. The first line is the sum.
"""

import re
import signal
import sys
from collections import Counter

FUNCTIONS_MAX = 60


def functions(path, messages):
    """A callgrind file has a line per address: costs of the function itself, and after `calls=` those of a callee."""
    names, costs = {}, Counter()
    current, skip = None, False
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            named = re.match(r"(fn|cfn)=\((\d+)\)(?: (.*))?", line)
            if named:
                kind, number, name = named.groups()
                if name:
                    names[number] = name
                if kind == "fn":
                    current = number
            elif line.startswith("calls="):
                skip = True
            elif re.match(r"[0-9+*-]", line):
                if not skip:
                    costs[current] += int(line.split()[1])
                skip = False
    yield sum(costs.values()) / messages, "all"
    for number, cost in costs.most_common(FUNCTIONS_MAX):
        yield cost / messages, names[number]


def main():
    # For `| head`.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    for number, name in functions(sys.argv[1], int(sys.argv[2])):
        print(f"{number:12.1f}  {name}")


if __name__ == "__main__":
    main()
