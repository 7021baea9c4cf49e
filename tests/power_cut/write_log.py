"""The log of writes that qemu's `blklogwrites` keeps, in the format of the kernel's dm-log-writes, and its replay.

Layout, little-endian: a superblock of one sector (`<QQQL`: magic, version, entries, bytes of a sector), then for each
entry one sector (`<QQQQ`: first sector, sectors, flags, unused) and, unless it is a discard, the data written.
"""

import mmap
import os
import random
import struct
from typing import NamedTuple

MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD = 1, 2, 4
# What a disk writes as one: blocks of a write that a power cut tears are all there or not at all.
BLOCK_BYTES = 4096


class Entry(NamedTuple):
    """One request: `length` bytes at `offset` of the disk; their content is at `data` in the log."""

    offset: int
    length: int
    flags: int
    data: int

    @property
    def is_write(self) -> bool:
        return self.length > 0 and not self.flags & DISCARD


class Counter:
    """How many requests have been logged up to now, while they are being logged."""

    def __init__(self, path: str):
        self.file = os.open(path, os.O_RDONLY)

    def __call__(self) -> int:
        head = os.pread(self.file, 28, 0)
        return struct.unpack_from("<QQQ", head)[2] if len(head) == 28 else 0


class WriteLog:
    """A finished log."""

    def __init__(self, path: str):
        with open(path, "rb") as file:
            self.bytes = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        magic, version, count, sector = struct.unpack_from("<QQQL", self.bytes)
        if (magic, version) != (MAGIC, 1):
            raise ValueError(f"{path} is no log of writes")
        self.entries: list[Entry] = []
        at = sector
        for _ in range(count):
            first, sectors, flags, _unused = struct.unpack_from("<QQQQ", self.bytes, at)
            entry = Entry(first * sector, sectors * sector, flags, at + sector)
            self.entries.append(entry)
            at = entry.data + (0 if flags & DISCARD else entry.length)
        if at > len(self.bytes):
            raise ValueError(f"{path} ends within an entry")

    def durable(self, cut: int) -> int:
        """How many of the first `cut` entries the last flush among them covers."""
        while cut > 0 and not self.entries[cut - 1].flags & FLUSH:
            cut -= 1
        return cut

    def unflushed(self, cut: int) -> list[Entry]:
        """The writes before `cut` that no flush covers: what a disk with a cache may lose, in any part."""
        return [entry for entry in self.entries[self.durable(cut) : cut] if entry.is_write]

    def replay(self, image: int, first: int, end: int) -> None:
        """Does to the open file `image` what the entries from `first` up to `end` did to the disk."""
        for entry in self.entries[first:end]:
            if entry.is_write:
                self._write(image, entry, 0, entry.length)

    def replay_torn(self, image: int, cut: int, chance: random.Random) -> None:
        """The same for the writes before `cut` that no flush covers; each block of them got there or did not, by chance."""
        share = chance.choice([0, 0.1, 0.5, 0.9])
        for entry in self.unflushed(cut):
            for start in range(0, entry.length, BLOCK_BYTES):
                if entry.flags & FUA or chance.random() < share:
                    self._write(image, entry, start, min(start + BLOCK_BYTES, entry.length))

    def _write(self, image: int, entry: Entry, start: int, end: int) -> None:
        written = os.pwrite(image, memoryview(self.bytes)[entry.data + start : entry.data + end], entry.offset + start)
        if written != end - start:
            raise OSError("short write to the image")


def points(log: WriteLog, first: int, count: int, chance: random.Random) -> list[int]:
    """`count` places to cut the log at, each a number of entries that the disk still got, sorted.

    A third right behind flushes, where what was just acknowledged must be there; a third between two writes, where
    most is in the air; the rest anywhere. Where the log has too few of a sort, fewer.
    """
    anywhere = range(first, len(log.entries) + 1)
    behind_flush = [cut for cut in anywhere if cut > first and log.entries[cut - 1].flags & FLUSH]
    in_burst = [cut for cut in anywhere if len(log.unflushed(cut)) > 1]
    chosen: set[int] = {len(log.entries)}
    for sort in (behind_flush, in_burst):
        chosen.update(chance.sample(sort, min(count // 3, len(sort))))
    others = [cut for cut in anywhere if cut not in chosen]
    chosen.update(chance.sample(others, min(max(count - len(chosen), 0), len(others))))
    return sorted(chosen)


def torn_points(log: WriteLog, first: int, count: int, chance: random.Random) -> list[int]:
    """`count` places where writes are not flushed yet, sorted; the same place may come twice, to be torn differently."""
    tearable = [cut for cut in range(first, len(log.entries) + 1) if log.unflushed(cut)]
    return sorted(chance.choices(tearable, k=count)) if tearable else []
