"""The destination of all messages: fails as a message's kind asks, or takes everything, and tells what it was sent."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import message

PORT = 9000
SLOW_SECONDS = 1.5
FLAKY_FAILURES = 2


class Request(NamedTuple):
    """A request that arrived in full."""

    kind: str
    seq: int
    attempt: int
    is_whole: bool


class Receiver:
    """A server on `PORT`. `seen` is called with each request and the status just before that is sent."""

    def __init__(self, seen: Callable[[Request, int], None] = lambda request, status: None):
        self.seen = seen
        self.takes_everything = False
        self.connections: set[asyncio.Task] = set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", PORT, limit=1 << 17)
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for connection in self.connections:
            connection.cancel()
        await asyncio.gather(*self.connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self.connections.add(task)
        try:
            while True:
                request = await read_request(reader)
                if request.kind == message.SLOW and not self.takes_everything:
                    await asyncio.sleep(SLOW_SECONDS)
                if reader.at_eof():
                    # The daemon is gone: nobody hears the answer, so it counts for nothing.
                    break
                status = self._status(request)
                self.seen(request, status)
                writer.write(b"HTTP/1.1 %d \r\nContent-Length: 0\r\n\r\n" % status)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            # The daemon closed the connection, was killed, or the run is over.
            pass
        finally:
            self.connections.discard(task)
            writer.close()

    def _status(self, request: Request) -> int:
        if self.takes_everything:
            return 204
        if request.kind == message.DEAD or (request.kind == message.FLAKY and request.attempt <= FLAKY_FAILURES):
            return 503
        return 204


async def read_request(reader: asyncio.StreamReader) -> Request:
    """The next request, with its body judged."""
    start, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    values = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    body = await reader.readexactly(int(values["content-length"]))
    method, target, _ = start.split(" ")
    kind, seq = message.parse_path(target)
    whole = method == "POST" and message.is_whole(seq, body)
    return Request(kind, seq, int(values["x-dispatcher-attempt"]), whole)
