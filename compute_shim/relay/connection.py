# SPDX-License-Identifier: Apache-2.0
"""A connection of a relay: bytes in both directions, with bounded buffers."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, cast

LOG = logging.getLogger(__name__)

#: Seconds until a peer is given up that is not connected, verified and greeted, or is silently lost.
PATIENCE = 10.0
# Bytes that may wait before reading, or writing, pauses.
_MOST_WAITING = 1 << 18
_LONGEST_LINE = 128
_CLOSED = "it closed the connection"
# Seconds until accept(2) is tried again, and in which the last bytes may be sent when a connection is closed.
_RETRY_SECONDS = 1.0
_CLOSE_SECONDS = 5.0


class Connection(asyncio.Protocol):
    """What arrives waits until `line` or `pour` takes it. Must be created in a running event loop.

    :ivar lost: done when the connection has ended; its result is why, None for an orderly end.
    """

    def __init__(self) -> None:
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._waiting = bytearray()
        self._changed = asyncio.Event()
        self._take: Callable[[bytes], None] | None = None
        self._on_full: Callable[[], None] = lambda: None
        self._on_room: Callable[[], None] = lambda: None
        #: Whether more than enough waits to be sent.
        self.full = False

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_MOST_WAITING)

    def data_received(self, data: bytes) -> None:
        if self._take is not None:
            self._take(data)
            return
        self._waiting += data
        if len(self._waiting) > _MOST_WAITING:
            self.pause_reading()
        self._changed.set()

    def pause_writing(self) -> None:
        self.full = True
        self._on_full()

    def resume_writing(self) -> None:
        self.full = False
        self._on_room()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(exc)
        self._changed.set()

    # Use

    @property
    def transport(self) -> asyncio.Transport:
        """The transport of a connection that was made."""
        assert self._transport is not None
        return self._transport

    async def line(self) -> bytes:
        """The first line that arrives, without its end; cut off where it is longer than any of ours.

        :raises ConnectionError: the connection has ended before
        """
        while b"\n" not in self._waiting and len(self._waiting) < _LONGEST_LINE:
            if self.lost.done():
                raise ConnectionError(f"{_CLOSED} before it greeted; its log has the reason")
            self._changed.clear()
            await self._changed.wait()
        line, _, rest = bytes(self._waiting).partition(b"\n")
        self._waiting = bytearray(rest)
        return line[:_LONGEST_LINE]

    def pour(
        self, take: Callable[[bytes], None], on_full: Callable[[], None], on_room: Callable[[], None]
    ) -> None:
        """From now on everything that arrives is for ``take``, first what has waited.

        :param on_full: called when enough waits to be sent; ``on_room`` when there is room again.
        """
        self._take, self._on_full, self._on_room = take, on_full, on_room
        waiting, self._waiting = bytes(self._waiting), bytearray()
        if waiting:
            take(waiting)
        self.resume_reading()

    def write(self, data: bytes) -> None:
        """Send; what cannot be sent at once waits."""
        self.transport.write(data)

    def pause_reading(self) -> None:
        """Let the peer wait."""
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again; nothing happens if it was not paused."""
        self.transport.resume_reading()

    async def close(self) -> None:
        """Send what waits, for some seconds, and close."""
        if self._transport is None or self.lost.done():
            return
        self._transport.close()
        await asyncio.wait([self.lost], timeout=_CLOSE_SECONDS)
        self._transport.abort()


def free_memory() -> None:
    """Free the connections that have ended.

    asyncio's TLS connections refer to themselves, and each has a buffer of 256 KiB, which Python's garbage
    collector does not count (asyncio/sslproto.py: SSLProtocol.max_size).
    """
    gc.collect()


async def accept(listening: socket.socket) -> tuple[socket.socket, Any]:
    """The next connection, and its address. Errors of a new connection do not end the socket (accept(2))."""
    while True:
        try:
            return await asyncio.get_running_loop().sock_accept(listening)
        except OSError as error:
            LOG.warning("Cannot accept a connection: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)


def join(one: Connection, other: Connection) -> None:
    """Send everything that arrives at one connection to the other, both ways, at the pace of the readers."""
    one.pour(other.write, other.pause_reading, other.resume_reading)
    other.pour(one.write, one.pause_reading, one.resume_reading)


def watch_peer(tcp: socket.socket) -> None:
    """Notice the silent loss of a TCP peer within `PATIENCE`, idle or not (Linux, tcp(7))."""
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    # While data is in flight no keepalive is sent.
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(PATIENCE * 1000))
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def explained(error: BaseException | None) -> str:
    """The reason of an error on a connection, in one line; no more of a peer's own words than OpenSSL's."""
    match error:
        case None:
            return _CLOSED
        case ssl.SSLCertVerificationError():
            return f"its certificate is not valid: {error.verify_message}"
        case ssl.SSLError() if error.reason:
            return f"TLS: {error.reason.lower().replace('_', ' ')}"
        case TimeoutError():
            return f"no answer within {PATIENCE:.0f} s"
        case OSError() if error.errno and error.errno > 0:
            # asyncio has texts of its own, with the address.
            return os.strerror(error.errno)
        case OSError() if error.strerror:
            return error.strerror
        case ConnectionError() if not str(error):
            return _CLOSED
        case _:
            return str(error)
