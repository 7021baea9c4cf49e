"""Messages that tell whether they are whole: the body says which message it is, how long, and its checksum.

What a message's kind asks of the receiver stands in its path, so that only a message whose path says so may end as a
dead letter.
"""

import random
import re
import zlib

MARK = b"power-cut message"
HEAD = re.compile(MARK + rb" (\d{8}) (\d{8}) ([0-9a-f]{8})\n")
HEAD_BYTES = len(MARK) + len(" 00000000 00000000 00000000\n")
# Below MAX_BODY of the daemon.
LARGE = 60 * 1024
# Mostly small, some of many blocks.
MIXED = (256, 1024, 1024, 8192, 8192, LARGE)

# Kind and share: taken at once; refused twice, then taken; answered late; refused for ever; sent after a power cut.
PROMPT, FLAKY, SLOW, DEAD, PROBE = "prompt", "flaky", "slow", "dead", "probe"
SHARES = [(PROMPT, 60), (FLAKY, 20), (SLOW, 8), (DEAD, 12)]


def kind(chance: random.Random) -> str:
    """A kind, by its share."""
    return chance.choices([name for name, _ in SHARES], [share for _, share in SHARES])[0]


def body(seq: int, chance: random.Random, sizes: tuple[int, ...] = MIXED) -> bytes:
    """A body of random content, smaller than one of `sizes`."""
    size = chance.randrange(chance.choice(sizes))
    content = chance.randbytes(size)
    return b"%s %08d %08d %08x\n" % (MARK, seq, size, zlib.crc32(content, seq)) + content


def path(kind_of_message: str, seq: int) -> str:
    """The target a message is sent to."""
    return f"/{kind_of_message}/{seq}"


def parse_path(target: str) -> tuple[str, int]:
    """Kind and number of a message, from its target."""
    _, kind_of_message, seq = target.split("/")
    return kind_of_message, int(seq)


def is_whole(seq: int, received: bytes) -> bool:
    """Whether `received` is the body of message `seq`, every byte of it and no other."""
    found = HEAD.match(received)
    if found is None or int(found[1]) != seq:
        return False
    return len(received) == HEAD_BYTES + int(found[2]) and zlib.crc32(received[HEAD_BYTES:], seq) == int(found[3], 16)


def whole_bodies_in(data: bytes) -> set[int]:
    """Numbers of the messages whose whole bodies stand anywhere in `data`, whatever format is around them."""
    whole = set()
    for found in HEAD.finditer(data):
        seq, start = int(found[1]), found.start()
        if is_whole(seq, data[start : start + HEAD_BYTES + int(found[2])]):
            whole.add(seq)
    return whole
