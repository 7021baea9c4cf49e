"""Fills a small filesystem to its last block under a running daemon, and checks that what was acknowledged is delivered.

See README.md. Run by run.sh, in namespaces of its own.
"""

import argparse
import asyncio
import errno
import os
import random
import sys

import message
import volume
from daemon import Daemon, DaemonError
from receiver import Receiver, Request
from sender import Connection

SEGMENT, RESERVE = "4MiB", "16MiB"
REFUSALS_TO_BELIEVE = 20
START_SECONDS = 20
RESUME_SECONDS = 30
PIECE_BYTES = 1 << 20
BLOCK_BYTES = 4096


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.sh full_disk", description=__doc__.splitlines()[0])
    parser.add_argument("--disk-mib", type=int, default=300)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--cores", default="1")
    parser.add_argument("--backend", default="auto", help="IO_BACKEND")
    parser.add_argument("--drain-seconds", type=float, default=120, help="for all that was acknowledged to be delivered")
    parser.add_argument("--kills", type=int, default=5, help="kill -9 and restarts on the full disk, one after another")
    parser.add_argument("--greedy", action="store_true", help="whatever the daemon frees while it drains is taken too")
    return parser.parse_args()


class Filler:
    """Somebody else who takes all the space there is."""

    def __init__(self, directory: str):
        self.directory = directory
        self.path = os.path.join(directory, "filler")

    def fill(self) -> int:
        """Writes until not one block is left; how many bytes the filler has then."""
        with open(self.path, "ab", buffering=0) as file:
            for piece in (PIECE_BYTES, BLOCK_BYTES):
                while self._append(file, piece):
                    pass
            return file.tell()

    @staticmethod
    def _append(file, piece: int) -> bool:
        """Whether there was space left for it."""
        try:
            file.write(b"f" * piece)
            # Until then the space is only promised.
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return False
        return True

    def free_bytes(self) -> int:
        """What anybody can still have."""
        filesystem = os.statvfs(self.directory)
        return filesystem.f_bavail * filesystem.f_frsize

    def remove(self) -> None:
        os.remove(self.path)

    async def take_what_is_freed(self) -> None:
        """Until it is cancelled."""
        while True:
            self.fill()
            await asyncio.sleep(0.05)


class Trial:
    """One daemon after another on one filesystem; what was acknowledged, what arrived, which steps failed."""

    def __init__(self, directory: str, options: argparse.Namespace):
        self.options = options
        self.directory = os.path.join(directory, "log")
        self.filler = Filler(directory)
        self.chance = random.Random(options.seed)
        self.seq = 0
        self.acknowledged: set[int] = set()
        self.delivered: set[int] = set()
        self.damaged: set[int] = set()
        self.failed = 0

    def new_daemon(self) -> Daemon:
        variables = {
            "CORES": self.options.cores,
            "IO_BACKEND": self.options.backend,
            "SEGMENT_BYTES": SEGMENT,
            "DISK_RESERVE": RESERVE,
            # All of it is for one destination here.
            "ORIGIN_LOG_SHARE": "1",
            "RETRYLIMIT": "1000",
            "BACKOFF_MAX": "2s",
        }
        return Daemon(self.directory, variables)

    def note_request(self, request: Request, _status: int) -> None:
        (self.delivered if request.is_whole else self.damaged).add(request.seq)

    def origin(self) -> Receiver:
        """The destination, up while its context lasts. The messages wait for it."""
        receiver = Receiver(self.note_request)
        receiver.takes_everything = True
        return receiver

    async def step(self, name: str, doing) -> None:
        """Says what came of a step. A failed one does not end the trial: the later ones tell more."""
        try:
            remark = await doing
            print(f"  ok      {name}" + (f": {remark}" if remark else ""), flush=True)
        except (DaemonError, StepFailed, OSError, asyncio.IncompleteReadError) as error:
            self.failed += 1
            print(f"  FAILED  {name}: {type(error).__name__} {error}", flush=True)

    async def post(self, connection: Connection) -> int:
        self.seq += 1
        seq = self.seq
        status, _ = await connection.post(message.PROMPT, seq, message.body(seq, self.chance, (message.LARGE,)))
        if status == 202:
            self.acknowledged.add(seq)
        return status

    async def fill_by_messages(self) -> str:
        """Sends until nothing but 507 comes."""
        before = len(self.acknowledged)

        async def send() -> None:
            refusals = 0
            async with Connection() as connection:
                while refusals < REFUSALS_TO_BELIEVE:
                    status = await self.post(connection)
                    if status not in (202, 507):
                        raise StepFailed(f"answered with {status}")
                    refusals = 0 if status == 202 else refusals + 1
                    if refusals:
                        await asyncio.sleep(0.1)

        await asyncio.gather(*(send() for _ in range(4)))
        return f"{len(self.acknowledged) - before:,} acknowledged, {self.filler.free_bytes() >> 10:,} KiB left"

    async def fill_behind_its_back(self) -> str:
        taken = self.filler.fill()
        free = self.filler.free_bytes()
        if free >= BLOCK_BYTES:
            raise StepFailed(f"{free} bytes are left")
        return f"{taken >> 10:,} KiB taken, nothing left"

    async def refuses_and_lives(self, daemon: Daemon) -> str:
        async with Connection() as connection:
            status = await self.post(connection)
        if status != 507 or not await daemon.is_healthy():
            raise StepFailed(f"answered with {status}")
        return ""

    async def delivers_everything(self, daemon: Daemon) -> str:
        """Waits until all that was acknowledged has arrived; if asked to, with every freed block taken away."""
        before = len(self.acknowledged - self.delivered)
        began = asyncio.get_running_loop().time()

        async def all_arrived() -> bool:
            return self.acknowledged <= self.delivered

        taking = asyncio.create_task(self.filler.take_what_is_freed()) if self.options.greedy else None
        try:
            await daemon.until(all_arrived, "messages are missing", self.options.drain_seconds)
        except DaemonError as error:
            missing = self.acknowledged - self.delivered
            raise StepFailed(f"{len(missing):,} of {before:,} messages are missing: {error}") from error
        finally:
            if taking:
                taking.cancel()
        return f"{before:,} messages in {asyncio.get_running_loop().time() - began:.1f} s"

    async def resumes(self, daemon: Daemon) -> str:
        """Waits for a 202, of a daemon that was not started again."""
        began = asyncio.get_running_loop().time()

        async def accepts() -> bool:
            try:
                async with Connection() as connection:
                    return await self.post(connection) == 202
            except ConnectionError:
                return False

        await daemon.until(accepts, "new messages are still refused", RESUME_SECONDS)
        return f"after {asyncio.get_running_loop().time() - began:.1f} s"

    async def starts(self, daemon: Daemon) -> str:
        """Not only listens: attempts what it has recovered, though nobody is there yet."""
        began = asyncio.get_running_loop().time()

        async def attempts() -> bool:
            return await daemon.metric("dispatcher_attempts_total") > 0

        await daemon.spawn()
        await daemon.until(attempts, "it attempts nothing", START_SECONDS)
        return f"first attempt after {asyncio.get_running_loop().time() - began:.1f} s"

    async def kill(self, daemon: Daemon) -> str:
        await daemon.kill()
        return ""

    async def run(self) -> None:
        daemon = self.new_daemon()
        try:
            await self.step("it starts on an empty disk", daemon.start())
            await self.step("messages fill the log until 507", self.fill_by_messages())
            await self.step("somebody else takes the rest", self.fill_behind_its_back())
            await self.step("it answers 507 and lives", self.refuses_and_lives(daemon))
            async with self.origin():
                await self.step("the origin comes up: all is delivered", self.delivers_everything(daemon))
                self.filler.remove()
                await self.step("the filler goes: 202 without a restart", self.resumes(daemon))
                await self.step("what was sent then is delivered", self.delivers_everything(daemon))
            await self.step("the origin is down: messages fill the log again", self.fill_by_messages())
            await self.step("somebody else takes the rest again", self.fill_behind_its_back())
            for time in range(1, self.options.kills + 1):
                await self.step(f"kill -9 no. {time}", self.kill(daemon))
                self.filler.fill()
                daemon = self.new_daemon()
                await self.step("it starts on a disk without a free block", self.starts(daemon))
            async with self.origin():
                await self.step("the origin comes up: all is delivered", self.delivers_everything(daemon))
                self.filler.remove()
                await self.step("the filler goes: 202 without a restart", self.resumes(daemon))
                await self.step("what was sent then is delivered", self.delivers_everything(daemon))
                await self.step("it stops with status 0", daemon.stop())
        finally:
            await daemon.kill()


class StepFailed(Exception):
    """A step came out otherwise than it must."""


def main() -> int:
    options = arguments()
    print("full_disk: " + " ".join(f"{name}={value}" for name, value in vars(options).items()))
    image, mount = (os.path.join(os.environ["WORK"], name) for name in ("disk.img", "disk"))
    volume.make_ext4(image, options.disk_mib << 20)
    with volume.mounted(image, mount):
        trial = Trial(mount, options)
        asyncio.run(trial.run())
    lost = trial.acknowledged - trial.delivered
    print(
        f"  acknowledged {len(trial.acknowledged):,}, lost {len(lost):,}, damaged {len(trial.damaged):,}, "
        f"failed steps {trial.failed}"
    )
    return 1 if lost or trial.damaged or trial.failed else 0


if __name__ == "__main__":
    sys.exit(volume.undone_when_interrupted(main))
