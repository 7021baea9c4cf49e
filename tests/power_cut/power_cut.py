"""Cuts the power at hundreds of moments of one run, and checks that what was acknowledged is delivered after each.

See README.md. Run by run.sh, in namespaces of its own.
"""

import argparse
import asyncio
import os
import random
import sys
import time
from dataclasses import dataclass, field

import message
import sender
import volume
from daemon import Daemon, DaemonError
from ledger import Found, Judgement, Ledger, judge
from receiver import Receiver
from write_log import WriteLog, points, torn_points

# How many requests behind a cut the control looks for messages that must not be there yet.
SOON = 50
PROBE_SEQ = 90_000_000
KEPT_MAX = 3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.sh power_cut", description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=500, help="moments to cut the power at")
    parser.add_argument("--torn", type=int, default=250, help="cuts that also tear what is not flushed")
    parser.add_argument("--seconds", type=float, default=15, help="of load")
    parser.add_argument("--kills", type=int, default=2, help="kill -9 and restart under load: recoveries are cut too")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--cores", default="1", help="CORES of the daemon whose power is cut")
    parser.add_argument("--recover-cores", default="1", help="CORES of the daemon that recovers: fewer must adopt")
    parser.add_argument("--backend", default="auto", help="IO_BACKEND")
    parser.add_argument("--disk-mib", type=int, default=512)
    parser.add_argument("--keep", help=f"directory for the disks of the first {KEPT_MAX} failed cuts")
    return parser.parse_args()


async def run_until_the_cut(directory: str, count, ledger: Ledger, options: argparse.Namespace) -> None:
    """The run itself: load, failing deliveries, kills. Everything that is seen goes to the ledger with its count."""
    load = sender.Load(
        options.connections,
        random.Random(options.seed),
        lambda what: ledger.note_acknowledged(what, count()),
    )
    variables = {"CORES": options.cores, "IO_BACKEND": options.backend}
    async with Receiver(lambda request, status: ledger.note_request(request, status, count())):
        for kills_left in range(options.kills, -1, -1):
            daemon = Daemon(directory, variables, lambda line: ledger.note_line(line, count()))
            try:
                await daemon.start()
                seconds = options.seconds / (options.kills + 1)
                if kills_left:
                    sending = asyncio.create_task(load.run(seconds * 2))
                    await asyncio.sleep(seconds)
                    await daemon.kill()
                    await sending
                else:
                    await load.run(seconds)
                    await daemon.stop()
            finally:
                await daemon.kill()
    print(f"  sent {load.seq:,}, acknowledged {len(ledger.acknowledged):,}, refused {load.refused:,}", flush=True)


async def recover(directory: str, cut: int, options: argparse.Namespace, receiver: Receiver) -> Found:
    """Starts a daemon on what the cut left, lets it deliver all that it has and one message more, and stops it."""
    found = Found()
    receiver.seen = found.note_request
    daemon = Daemon(directory, {"CORES": options.recover_cores, "IO_BACKEND": options.backend})
    try:
        await daemon.start()
        async with sender.Connection() as connection:
            seq = PROBE_SEQ + cut
            status, _ = await connection.post(message.PROBE, seq, message.body(seq, random.Random(seq)))
        if status != 202:
            raise DaemonError(f"a new message is answered with {status}", daemon)
        await daemon.until(daemon.is_idle, "it does not deliver all that it has")
        if await daemon.metric("dispatcher_corrupt_records_total"):
            raise DaemonError("it reports damage", daemon)
        if seq not in found.delivered:
            raise DaemonError("a new message is not delivered", daemon)
        await daemon.stop()
    finally:
        await daemon.kill()
    for place, _, names in os.walk(os.path.join(directory, "dead-letter")):
        for name in names:
            with open(os.path.join(place, name), "rb") as file:
                found.dead_letters |= message.whole_bodies_in(file.read())
    return found


@dataclass
class Totals:
    """Over all cuts."""

    cuts: int = 0
    torn: int = 0
    failed: int = 0
    damaged: int = 0
    kept: int = 0
    sums: Judgement = field(default_factory=Judgement)
    revived: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)


class Cutter:
    """Makes the disk of each cut, in ascending order, and has it checked."""

    def __init__(self, work: str, log: WriteLog, ledger: Ledger, options: argparse.Namespace, receiver: Receiver):
        self.base = os.path.join(work, "base.img")
        self.image = os.path.join(work, "cut.img")
        self.mount = os.path.join(work, "cut")
        self.log, self.ledger, self.options, self.receiver = log, ledger, options, receiver
        self.replayed = 0
        self.totals = Totals()

    def _make(self, cut: int, torn_seed: int | None, image: str) -> None:
        """The disk as it was after `cut` requests; torn: what is not flushed of it only in parts."""
        whole = whole_part(self.log, cut, torn_seed)
        assert whole >= self.replayed, "cuts come in ascending order"
        with open(self.base, "r+b") as file:
            self.log.replay(file.fileno(), self.replayed, whole)
        self.replayed = whole
        volume.copy(self.base, image)
        if torn_seed is not None:
            with open(image, "r+b") as file:
                self.log.replay_torn(file.fileno(), cut, random.Random(torn_seed))

    async def check(self, cut: int, torn_seed: int | None = None) -> None:
        """One cut: its disk, its recovery, its judgement."""
        totals, name = self.totals, f"cut {cut}" + (f" torn {torn_seed}" if torn_seed is not None else "")
        totals.cuts += torn_seed is None
        totals.torn += torn_seed is not None
        self._make(cut, torn_seed, self.image)
        failures = []
        try:
            with volume.mounted(self.image, self.mount):
                found = await recover(os.path.join(self.mount, "log"), cut, self.options, self.receiver)
            judgement = judge(self.ledger, cut, found, SOON)
            failures += [f"lost {judgement.lost}"] if judgement.lost else []
            failures += [f"dead letters attempted again {judgement.revived}"] if judgement.revived else []
            failures += found.damaged
            totals.damaged += len(found.damaged)
            self._add(judgement)
        except (DaemonError, OSError) as error:
            totals.failed += 1
            failures.append(str(error))
        if failures:
            print(f"{name}: " + "\n  ".join(failures), flush=True)
            self.totals.kept += 1
            if self.options.keep and self.totals.kept <= KEPT_MAX:
                self._make(cut, torn_seed, os.path.join(self.options.keep, name.replace(" ", "-") + ".img"))
        os.remove(self.image)

    def _add(self, judgement: Judgement) -> None:
        sums = self.totals.sums
        self.totals.lost.update(judgement.lost)
        self.totals.revived.update(judgement.revived)
        sums.checked += judgement.checked
        sums.from_log += judgement.from_log
        sums.duplicates += judgement.duplicates
        sums.not_yet += judgement.not_yet


async def cut_everywhere(work: str, log: WriteLog, first: int, ledger: Ledger, options: argparse.Namespace) -> Totals:
    """All cuts of a finished run."""
    chance = random.Random(options.seed + 1)
    whole: list[tuple[int, int | None]] = [(cut, None) for cut in points(log, first, options.points, chance)]
    torn = [(cut, seed) for seed, cut in enumerate(torn_points(log, first, options.torn, chance))]
    # A torn cut needs the disk as it was before its unflushed writes, so it comes before any whole cut behind those.
    order = sorted(whole + torn, key=lambda one: whole_part(log, *one))
    async with Receiver() as receiver:
        receiver.takes_everything = True
        cutter = Cutter(work, log, ledger, options, receiver)
        for done, (cut, seed) in enumerate(order, 1):
            await cutter.check(cut, seed)
            if done % 100 == 0:
                print(f"  {done:,} of {len(order):,} cuts", flush=True)
    return cutter.totals


def whole_part(log: WriteLog, cut: int, torn_seed: int | None) -> int:
    """How many requests the disk of a cut has in full, whether it is torn or not."""
    return cut if torn_seed is None else log.durable(cut)


def report(ledger: Ledger, log: WriteLog, first: int, totals: Totals, seconds: float) -> bool:
    """Prints the summary; whether all is well."""
    writes = [entry for entry in log.entries[first:] if entry.is_write]
    mib = sum(entry.length for entry in writes) >> 20
    sums = totals.sums
    each = seconds / max(totals.cuts + totals.torn, 1)
    in_run = f"{len(ledger.delivered):,} delivered and {len(ledger.buried):,} dead-lettered in the run"
    soon = f"acknowledged within {SOON} requests after a cut: 0 would mean that the check is blind"
    rows = [
        ("requests logged", len(log.entries) - first, f"{len(writes):,} writes of {mib:,} MiB"),
        ("acknowledged", len(ledger.acknowledged), in_run),
        ("cuts", totals.cuts, f"and {totals.torn:,} torn; {each:.2f} s each"),
        ("checked", sums.checked, f"acknowledged before a cut; {sums.from_log:,} of them only in the log"),
        ("delivered again", sums.duplicates, "delivered before the cut and after it"),
        ("not there yet", sums.not_yet, soon),
        ("lost", len(totals.lost), "acknowledged before the cut, not delivered, no dead letter"),
        ("attempted again", len(totals.revived), "dead letters before the cut"),
        ("damaged", totals.damaged + len(ledger.damaged), "bodies"),
        ("failed", totals.failed, "starts, drains, stops, mounts, or damage reported"),
    ]
    for name, figure, remark in rows:
        print(f"  {name:<16}{figure:>12,}   {remark}")
    bad = totals.lost or totals.revived or totals.damaged or ledger.damaged or totals.failed
    return not bad and sums.not_yet > 0 and sums.from_log > 0


def main() -> int:
    options = arguments()
    given = ((name.replace("_", "-"), value) for name, value in vars(options).items() if value is not None)
    print("power_cut: " + " ".join(f"--{name} {value}" for name, value in given))
    if options.keep:
        os.makedirs(options.keep, exist_ok=True)
    work = os.environ["WORK"]
    place = {name: os.path.join(work, name) for name in ("disk.img", "base.img", "writes.log", "exported.img", "disk")}
    volume.make_ext4(place["disk.img"], options.disk_mib << 20)
    volume.copy(place["disk.img"], place["base.img"])
    ledger = Ledger()
    with (
        volume.logged(place["disk.img"], place["writes.log"], place["exported.img"]) as count,
        volume.mounted(place["exported.img"], place["disk"]),
    ):
        first = count()
        asyncio.run(run_until_the_cut(os.path.join(place["disk"], "log"), count, ledger, options))
    os.remove(place["disk.img"])
    log = WriteLog(place["writes.log"])
    began = time.monotonic()
    totals = asyncio.run(cut_everywhere(work, log, first, ledger, options))
    return 0 if report(ledger, log, first, totals, time.monotonic() - began) else 1


if __name__ == "__main__":
    sys.exit(volume.undone_when_interrupted(main))
