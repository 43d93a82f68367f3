# SPDX-License-Identifier: Apache-2.0
"""Both relays in the event loop of a test, with a played device and a played QEMU."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from compute_shim.relay.credentials import Credentials
from compute_shim.relay.device import DeviceRelay
from compute_shim.relay.greeting import Claim
from compute_shim.relay.server import ServerRelay
from compute_shim.relay.state import StateFile
from compute_shim.relay.usbredir import DeviceError

#: Names of the device's host and of the server's host.
DEVICE_HOST, SERVER_HOST = "usbhost1.example.org", "usbhost2.example.org"
CLAIM = Claim("b4e6f1d2-device", 4)
#: Seconds for whatever is waited for.
PATIENCE = 20.0


class Echo:
    """A played device: it sends back what it is sent.

    :ivar received: how many bytes it was sent.
    """

    #: What is no usbredir.
    NONSENSE = b"nonsense"

    def __init__(self, on_end: Callable[[str], None]) -> None:
        self.unplug = on_end
        self.received = 0
        self.closed = False
        self._answers = bytearray()
        self._write: Callable[[bytes], bool] = lambda data: False

    def connect(self, write: Callable[[bytes], bool]) -> None:
        assert not self.closed
        self._write = write

    def receive(self, data: bytes) -> None:
        assert not self.closed
        if data.startswith(self.NONSENSE):
            raise DeviceError("it does not speak usbredir")
        self.received += len(data)
        self._answers += data
        self.flush()

    def flush(self) -> None:
        assert not self.closed
        while self._answers and self._write(bytes(self._answers[: 1 << 16])):
            del self._answers[: 1 << 16]

    def close(self) -> None:
        assert not self.closed
        self.closed = True


@dataclasses.dataclass
class Running:
    """A relay.

    :ivar address: where it listens: a port, or the path of a unix socket.
    :ivar devices: what it has held: a device for each connection.
    """

    task: asyncio.Task[str]
    file: Path
    port: int = 0
    path: str = ""
    devices: list[Echo] = dataclasses.field(default_factory=list)

    @property
    def state(self) -> dict[str, str]:
        """The lines of its state file."""
        lines = (line.partition(" ") for line in self.file.read_text().splitlines())
        return {name: value for name, _, value in lines}

    async def reaches(self, state: str, reason: str = "") -> None:
        """Wait until it is in a state for a reason."""
        async with asyncio.timeout(PATIENCE):
            while (self.state["state"], self.state["reason"]) != (state, reason):
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def device_relay(
    directory: Path, own: Credentials, *, peer: str = SERVER_HOST, claim: Claim = CLAIM, port: int = 0
) -> AsyncIterator[Running]:
    """The relay of the device's host, until the end of the block."""
    devices: list[Echo] = []

    def hold(on_end: Callable[[str], None]) -> Echo:
        assert all(device.closed for device in devices)
        devices.append(Echo(on_end))
        return devices[-1]

    with socket.create_server(("127.0.0.1", port)) as listening:
        file = directory / "device.state"
        relay = DeviceRelay(hold, listening, peer, claim, own, StateFile(file, {"mode": "device"}))
        running = Running(asyncio.create_task(relay.run()), file, listening.getsockname()[1], "", devices)
        async with _until_end(running):
            yield running
        assert all(device.closed for device in devices)


@contextlib.asynccontextmanager
async def server_relay(
    directory: Path, own: Credentials, port: int, *, peer: str = DEVICE_HOST, claim: Claim = CLAIM
) -> AsyncIterator[Running]:
    """The relay of the server's host, until the end of the block."""
    path = str(directory / "qemu.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        file = directory / "server.state"
        relay = ServerRelay(
            listening, ("127.0.0.1", port), peer, claim, own, StateFile(file, {"mode": "server"})
        )
        async with _until_end(Running(asyncio.create_task(relay.run()), file, port, path)) as running:
            yield running


@contextlib.asynccontextmanager
async def _until_end(running: Running) -> AsyncIterator[Running]:
    while not running.file.exists():
        await asyncio.sleep(0)
    try:
        yield running
    finally:
        running.task.cancel()
        await asyncio.wait({running.task})
    if not running.task.cancelled():
        running.task.result()


@contextlib.asynccontextmanager
async def qemu(relay: Running) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the unix socket, until the end of the block."""
    reader, writer = await asyncio.open_unix_connection(relay.path)
    try:
        yield reader, writer
    finally:
        writer.close()


async def echoed(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes = b"are you there?"
) -> bool:
    """Whether the device answers."""
    writer.write(data)
    async with asyncio.timeout(PATIENCE):
        return await reader.readexactly(len(data)) == data
