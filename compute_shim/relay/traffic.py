# SPDX-License-Identifier: Apache-2.0
"""What passes between two relays, as the kernel counts it, in a file for the agent."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NoReturn

from compute_shim.relay.state import replace

#: Seconds between two looks. The file is only written when something has passed.
INTERVAL = 15.0
# linux/tcp.h, struct tcp_info: tcpi_rtt in microseconds, tcpi_bytes_acked and tcpi_bytes_received.
_ROUND_TRIP, _BYTES, _LENGTH = 68, 120, 136


@dataclasses.dataclass(frozen=True)
class Traffic:
    """Of one connection, since it was made.

    :param sent: bytes that the other relay has, TLS included.
    :param received: bytes of the other relay.
    :param round_trip: smoothed time of a round trip, in microseconds.
    """

    sent: int
    received: int
    round_trip: int


def of(tcp: socket.socket) -> Traffic | None:
    """What has passed; None if the kernel does not say (before Linux 4.1, or the socket is closed)."""
    try:
        info = tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LENGTH)
    except OSError:
        return None
    if len(info) < _LENGTH:
        return None
    return Traffic(*struct.unpack_from("=QQ", info, _BYTES), *struct.unpack_from("=I", info, _ROUND_TRIP))


@contextlib.asynccontextmanager
async def recorded(tcp: socket.socket, file: Path) -> AsyncIterator[None]:
    """Keep the file up to date meanwhile: one line of the three numbers."""
    recording = asyncio.create_task(_record(tcp, file))
    try:
        yield
    finally:
        recording.cancel()


async def _record(tcp: socket.socket, file: Path) -> NoReturn:
    last: Traffic | None = None
    while True:
        now = of(tcp)
        if now is not None and (last is None or (now.sent, now.received) != (last.sent, last.received)):
            replace(file, f"{now.sent} {now.received} {now.round_trip}\n")
            last = now
        await asyncio.sleep(INTERVAL)
