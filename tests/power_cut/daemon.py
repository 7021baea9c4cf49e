"""The daemon as a child process: started, asked, stopped or killed; what it says on stderr is listened to."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable

DATA_PORT, ADMIN_PORT = 8080, 8081
RETRY_LIMIT = 4
PATIENCE_SECONDS = 60

VARIABLES = {
    "LISTEN": f"127.0.0.1:{DATA_PORT}",
    "ADMIN_LISTEN": f"127.0.0.1:{ADMIN_PORT}",
    "SEGMENT_BYTES": "2MiB",
    "MAX_BODY": "64KiB",
    "MAX_HEAD": "8KiB",
    "DISK_RESERVE": "16MiB",
    "RETRYLIMIT": str(RETRY_LIMIT),
    "BACKOFF_BASE": "50ms",
    "BACKOFF_FACTOR": "2",
    "BACKOFF_MAX": "500ms",
    "DEFAULT_TIMEOUT": "60s",
    "ORIGIN_IN_FLIGHT": "512",
    # Every dead letter is to be told, however many there are at a time.
    "LOG_LEVEL": "debug",
    "LOG_FORMAT": "json",
}


class Daemon:
    """One process on the log in `directory`. `heard` is called with each line of its stderr, parsed."""

    def __init__(self, directory: str, variables: dict[str, str], heard: Callable[[dict], None] = lambda line: None):
        self.environment = VARIABLES | {"TRANSACTION_LOG": directory} | variables
        self.heard = heard
        self.lines: list[str] = []
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts it, and waits until it takes messages."""
        await self.spawn()
        await self.until(self.is_ready, "it does not become ready")

    async def spawn(self) -> None:
        """Starts it, and waits for nothing."""
        self.process = await asyncio.create_subprocess_exec(
            os.environ["DISPATCHER"],
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        self.listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while line := await self.process.stderr.readline():
            text = line.decode(errors="replace").rstrip()
            self.lines.append(text)
            try:
                self.heard(json.loads(text))
            except ValueError:
                # A panic is no JSON; it is in `lines`.
                continue

    async def is_ready(self) -> bool:
        return (await self.get("/-/ready"))[0] == 200

    async def is_healthy(self) -> bool:
        return (await self.get("/-/healthy"))[0] == 200

    async def is_idle(self) -> bool:
        """Whether no message is pending. A status other than 200 would make that a guess."""
        status, text = await self.get("/metrics")
        pending = [value for name, value in series(text) if name.startswith("dispatcher_messages{")]
        return status == 200 and len(pending) >= 3 and sum(pending) == 0

    async def metric(self, name: str) -> float:
        """The sum of a metric's series."""
        _, text = await self.get("/metrics")
        return sum(value for found, value in series(text) if found.split("{")[0] == name)

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body of what the admin listener answers; status 0 if it does not."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", ADMIN_PORT)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                answer = (await reader.read(-1)).decode()
            finally:
                writer.close()
        except OSError:
            return 0, ""
        head, _, body = answer.partition("\r\n\r\n")
        return (int(head.split()[1]) if head else 0), body

    async def until(self, holds, what: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Waits for `holds` while the process lives."""
        end = asyncio.get_running_loop().time() + seconds
        while not await holds():
            if self.process.returncode is not None:
                raise DaemonError(f"status {self.process.returncode}", self)
            if asyncio.get_running_loop().time() > end:
                raise DaemonError(what, self)
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """SIGTERM; it must end by itself, with status 0."""
        self.process.terminate()
        try:
            status = await asyncio.wait_for(self.process.wait(), PATIENCE_SECONDS)
        except TimeoutError:
            raise DaemonError("it does not stop", self) from None
        await self.listening
        if status != 0:
            raise DaemonError(f"stopped with status {status}", self)

    async def kill(self) -> None:
        """SIGKILL, if it was started and still runs."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        await self.listening


class DaemonError(Exception):
    """The daemon did not do what it must; with its last words."""

    def __init__(self, what: str, daemon: Daemon):
        super().__init__("\n    ".join([what, *daemon.lines[-5:]]))


def series(text: str) -> list[tuple[str, float]]:
    """Name with labels, and value, of each line of a scrape."""
    lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return [(name, float(value)) for name, _, value in lines]
