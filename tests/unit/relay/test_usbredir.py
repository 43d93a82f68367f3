# SPDX-License-Identifier: Apache-2.0
"""How libusb and libusbredirhost are called, with played libraries; ``tests/lab`` has a real device."""

from __future__ import annotations

import asyncio
import ctypes
import os
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from compute_shim.relay import usbredir
from compute_shim.relay.usbredir import DeviceError, Libraries, Redirection, is_gone


class Played:
    """Both libraries, with one device.

    :ivar calls: what was called.
    :ivar event: the socket by which the device reports.
    """

    def __init__(self) -> None:
        self.usb = self.redir = self
        self.calls: list[str] = []
        self.can_open, self.can_wrap = True, True
        self.result = 0
        self.waiting = b""
        self.read = b""
        self.event, self._watched = socket.socketpair()

    def libusb_init(self, context: Any) -> int:
        self.calls.append("init")
        return 0

    def libusb_exit(self, context: Any) -> None:
        self.calls.append("exit")

    def libusb_error_name(self, code: int) -> bytes:
        return b"LIBUSB_ERROR_ACCESS"

    def libusb_wrap_sys_device(self, context: Any, node: int, handle: Any) -> int:
        self.calls.append(f"wrap {node}")
        return 0 if self.can_wrap else -3

    def usbredirhost_open(self, context: Any, handle: Any, *rest: Any) -> int | None:
        self.calls.append("open")
        self._log, self._read, self._write = rest[:3]
        if not self.can_open:
            self._log(None, 1, b"could not claim interface 0\n")
            return None
        return 1

    def libusb_get_pollfds(self, context: Any) -> Any:
        self._entry = usbredir._PollFd(self._watched.fileno(), select.POLLIN)
        pointer = ctypes.POINTER(usbredir._PollFd)
        return (pointer * 2)(ctypes.pointer(self._entry), pointer())

    def libusb_free_pollfds(self, found: Any) -> None:
        pass

    def libusb_handle_events_timeout_completed(self, context: Any, wait: Any, completed: Any) -> int:
        self.calls.append("events")
        self.waiting += self._watched.recv(100)
        return 0

    def usbredirhost_read_guest_data(self, host: int) -> int:
        block = (ctypes.c_uint8 * 4)()
        while count := self._read(None, block, len(block)):
            self.read += bytes(block[:count])
        if self.result:
            self._log(None, 1, b"invalid \xff\x1b[31mpacket")
        return self.result

    def usbredirhost_has_data_to_write(self, host: int) -> int:
        return len(self.waiting)

    def usbredirhost_write_guest_data(self, host: int) -> int:
        block = (ctypes.c_uint8 * len(self.waiting))(*self.waiting)
        taken = self._write(None, block, len(block))
        self.waiting = self.waiting[taken:]
        return 0

    def usbredirhost_close(self, host: int) -> None:
        self.calls.append("close")

    def hold(self, node: int, on_end: Callable[[str], None] = lambda reason: None) -> Redirection:
        """Take the device."""
        return Redirection(cast(Libraries, self), node, on_end)


@pytest.fixture
def played() -> Iterator[Played]:
    played = Played()
    yield played
    played.event.close()
    played._watched.close()


def run(scenario: Callable[[], Any]) -> None:
    """Run it in an event loop."""

    async def main() -> None:
        result = scenario()
        if result is not None:
            await result

    asyncio.run(main())


def test_bytes_go_both_ways(played: Played) -> None:
    received: list[bytes] = []
    full = True

    def write(data: bytes) -> bool:
        if not full:
            received.append(data)
        return not full

    async def scenario() -> None:
        nonlocal full
        redirection = played.hold(7)
        played.waiting = b"hello of the device"
        redirection.connect(write)
        assert received == []
        full = False
        redirection.receive(b"hello of QEMU")
        assert played.read == b"hello of QEMU"
        assert received == [b"hello of the device"]
        played.event.send(b"answer")
        while len(received) < 2:
            await asyncio.sleep(0)
        assert received[1] == b"answer"
        redirection.close()
        # Nobody listens any more.
        calls = list(played.calls)
        played.event.send(b"late")
        await asyncio.sleep(0.01)
        assert played.calls == calls == ["init", "wrap 7", "open", "events", "close", "exit"]

    run(scenario)


def test_before_a_peer_is_there_nothing_is_lost(played: Played) -> None:
    received: list[bytes] = []

    def scenario() -> None:
        redirection = played.hold(7)
        played.waiting = b"hello of the device"
        redirection.flush()
        assert played.waiting == b"hello of the device"
        redirection.connect(lambda data: bool(received.append(data)) or True)
        assert (received, played.waiting) == ([b"hello of the device"], b"")
        redirection.close()

    run(scenario)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (-1, "input or output error"),
        (-2, "it does not speak usbredir"),
        (-3, "the server refused the device"),
        (-4, "the device is gone"),
        (-9, "-9"),
    ],
)
def test_an_error_is_explained_without_what_the_peer_wrote(played: Played, result: int, text: str) -> None:
    def scenario() -> None:
        redirection = played.hold(7)
        played.result = result
        with pytest.raises(DeviceError) as refused:
            redirection.receive(b"nonsense")
        assert str(refused.value) == f"{text} 'invalid \\ufffd\\x1b[31mpacket'"
        redirection.close()

    run(scenario)


def test_a_device_that_cannot_be_opened_leaves_nothing_open(played: Played) -> None:
    played.can_open = False
    with pytest.raises(DeviceError, match="cannot open the device: 'could not claim interface 0'"):
        run(lambda: played.hold(7) and None)
    assert played.calls == ["init", "wrap 7", "open", "exit"]


def test_a_node_that_cannot_be_used_leaves_nothing_open(played: Played) -> None:
    played.can_wrap = False
    with pytest.raises(DeviceError, match="libusb cannot open the device: LIBUSB_ERROR_ACCESS"):
        run(lambda: played.hold(7) and None)
    assert played.calls == ["init", "wrap 7", "exit"]


def test_it_says_that_the_device_was_unplugged(played: Played) -> None:
    async def scenario() -> None:
        node, other = os.pipe()
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        redirection = played.hold(node, ended.set_result)
        os.close(other)
        played.event.send(b"device_disconnect")
        assert await ended == "the device was unplugged"
        redirection.close()
        os.close(node)

    run(scenario)


def test_the_kernel_hangs_up_when_a_device_is_unplugged() -> None:
    node, other = os.pipe()
    assert not is_gone(node)
    os.close(other)
    assert is_gone(node)
    os.close(node)


def test_the_real_libraries_refuse_what_is_no_device() -> None:
    with Path("/dev/null").open("r+b") as node, pytest.raises(DeviceError, match=r"LIBUSB_ERROR_\w+"):
        run(lambda: Redirection(Libraries(), node.fileno(), lambda reason: None) and None)


def test_a_missing_library_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(DeviceError, match=r"^libusb-1\.0\.so\.0: cannot open .*; install libusbredirhost1"):
        Libraries()
