"""A proxy on the loopback interface that loses connections where a test wants it to."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from enum import Enum


class Way(Enum):
    TO_SERVER = "to the server"
    TO_CLIENT = "to the client"


class Proxy:
    """Pass everything on, but for what a test holds back; cut connections when it says so."""

    def __init__(self, port: int) -> None:
        self.cuts = 0
        self.is_refusing = False
        self._port = port
        self._left: dict[Way, int] = {}
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    def cut_at(self, way: Way, number: int) -> None:
        """Cut all connections instead of passing on the chunk of this number, from 1, on this way from now on."""
        self._left = {way: number}

    def pass_on(self) -> None:
        """Cut nothing from now on, wherever a cut was planned."""
        self._left = {}

    def dsn(self, dsn: str) -> str:
        """Return a DSN that leads through the proxy."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return re.sub(r":\d+/", f":{port}/", dsn) + "?sslmode=disable"

    @contextlib.asynccontextmanager
    async def running(self) -> "AsyncIterator[Proxy]":
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        try:
            yield self
        finally:
            self._server.close()
            self._cut()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if self.is_refusing:
            self._cut()
            return
        to, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers.add(back)
        await asyncio.gather(self._pass(Way.TO_SERVER, reader, back), self._pass(Way.TO_CLIENT, to, writer))

    async def _pass(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65_536):
                if self._is_cut_here(way):
                    self._cut()
                    return
                writer.write(chunk)
        writer.close()

    def _is_cut_here(self, way: Way) -> bool:
        if way not in self._left:
            return False
        self._left[way] -= 1
        return self._left[way] == 0

    def _cut(self) -> None:
        self.cuts += bool(self._left)
        self._left = {}
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
