"""The source: kept connections that send messages one after another and tell what was acknowledged."""

import asyncio
import random
from collections.abc import Callable
from typing import NamedTuple

import message
from daemon import DATA_PORT
from receiver import PORT


class Acknowledged(NamedTuple):
    """A message that was answered with 202."""

    kind: str
    seq: int
    id: str


class Connection:
    """One connection to the daemon, and the next when an answer says that it closes."""

    async def __aenter__(self):
        await self._open()
        return self

    async def _open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", DATA_PORT)
        self.closes = False

    async def __aexit__(self, *_):
        self.writer.close()

    async def post(self, kind: str, seq: int, body: bytes) -> tuple[int, str]:
        """Sends a message; the status, and the id if it was accepted."""
        if self.closes:
            self.writer.close()
            await self._open()
        head = (
            f"POST {message.path(kind, seq)} HTTP/1.1\r\nHost: localhost\r\n"
            f"X-Dispatcher-Origin-Host: 127.0.0.1:{PORT}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode() + body)
        await self.writer.drain()
        start, *fields = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        values = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        await self.reader.readexactly(int(values.get("content-length", 0)))
        self.closes = values.get("connection") == "close"
        return int(start.split(" ")[1]), values.get("x-dispatcher-message-id", "")


class Load:
    """`connections` senders whose bursts and pauses overlap at random."""

    def __init__(self, connections: int, chance: random.Random, acknowledged: Callable[[Acknowledged], None]):
        self.connections = connections
        self.chance = chance
        self.acknowledged = acknowledged
        self.seq = 0
        self.refused = 0

    async def run(self, seconds: float) -> None:
        """Sends for so long. Ends earlier on connections that the daemon breaks."""
        end = asyncio.get_running_loop().time() + seconds
        senders = (self._send(end) for _ in range(self.connections))
        await asyncio.gather(*senders)

    async def _send(self, end: float) -> None:
        try:
            async with Connection() as connection:
                while asyncio.get_running_loop().time() < end:
                    for _ in range(self.chance.randrange(1, 12)):
                        await self._send_one(connection)
                    await asyncio.sleep(self.chance.uniform(0, 0.3))
        except (asyncio.IncompleteReadError, ConnectionError):
            # The daemon was killed: whether the last message is in the log is unknown, and nobody was told.
            pass

    async def _send_one(self, connection: Connection) -> None:
        self.seq += 1
        seq, kind = self.seq, message.kind(self.chance)
        status, id_of_message = await connection.post(kind, seq, message.body(seq, self.chance))
        if status == 202:
            self.acknowledged(Acknowledged(kind, seq, id_of_message))
        else:
            self.refused += 1
