#!/usr/bin/env python3
"""Says where the cost of a message is, from what valgrind wrote.

usage: where.py functions CALLGRIND_FILE MESSAGES       instructions per message, by function, without what it calls
       where.py allocations DHAT_FILE DHAT_FILE MESSAGES  allocations per message, by place: the second file's run had
                                                          MESSAGES messages more than the first's
The first line is the sum. What start, warm-up and end allocate is in both files, and so in neither figure.
"""

import json
import re
import signal
import sys
from collections import Counter

FUNCTIONS_MAX = 60
# A place is told if every hundredth message meets it.
PLACE_MIN = 0.01
FRAMES_MAX = 8
FRAME_LETTERS_MAX = 100
# Frames between an allocation and whoever wanted it, and those of the runtime around all.
PLUMBING = re.compile(
    r"UnknownInlinedFun|alloc::|alloc_impl|__rust|__rdl|memalign|malloc|^alloc|allocate|box_new_uninit|with_capacity<|"
    r"raw_vec|tokio::runtime|tokio::task|LocalKey|thread::local|backtrace|call_once|thread_start|clone"
)


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


def places(path):
    """Blocks allocated, and bytes, by stack."""
    with open(path, encoding="utf-8") as file:
        profile = json.load(file)
    blocks, size = Counter(), Counter()
    for place in profile["pps"]:
        # Addresses are those of one binary, so that a stack is the same in another run.
        stack = tuple(profile["ftbl"][frame] for frame in place["fs"])
        blocks[stack] += place["tbk"]
        size[stack] += place["tb"]
    return blocks, size


def readable(stack):
    """The innermost frames that tell something."""
    frames = (re.sub(r"^0x[0-9A-F]+: ", "", frame) for frame in stack)
    return " < ".join([frame[:FRAME_LETTERS_MAX] for frame in frames if not PLUMBING.search(frame)][:FRAMES_MAX])


def allocations(few, many, messages):
    blocks, size = Counter(), Counter()
    for path, sign in ((few, -1), (many, 1)):
        for total, part in zip((blocks, size), places(path)):
            for stack, number in part.items():
                total[stack] += sign * number
    yield sum(blocks.values()) / messages, f"all, {sum(size.values()) / messages:.0f} bytes"
    for stack, number in blocks.most_common():
        if number / messages < PLACE_MIN:
            return
        yield number / messages, f"{size[stack] / messages:.0f} bytes: {readable(stack)}"


def main():
    # For `| head`.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    match sys.argv[1:]:
        case ["functions", path, messages]:
            found, form = functions(path, int(messages)), "{:12.1f}  {}"
        case ["allocations", few, many, messages]:
            found, form = allocations(few, many, int(messages)), "{:12.3f}  {}"
        case _:
            sys.exit(__doc__)
    for number, name in found:
        print(form.format(number, name))


if __name__ == "__main__":
    main()
