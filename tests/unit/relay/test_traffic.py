# SPDX-License-Identifier: Apache-2.0
"""What passes between two relays, as Linux counts it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from compute_shim.relay import traffic
from tests.unit.agent.test_agent import until


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        one = socket.create_connection(listening.getsockname())
        other, _ = listening.accept()
    with one, other:
        yield one, other


def test_bytes_and_round_trip(ends: tuple[socket.socket, socket.socket]) -> None:
    one, other = ends
    one.sendall(bytes(1000))
    other.sendall(bytes(30))
    assert len(other.recv(1000, socket.MSG_WAITALL)) == 1000
    assert len(one.recv(30, socket.MSG_WAITALL)) == 30

    def counted() -> bool:
        # The SYN counts as one until its acknowledgement.
        found = traffic.of(one)
        return found is not None and (found.sent in (1000, 1001), found.received) == (True, 30)

    until(counted)
    found = traffic.of(one)
    assert found is not None
    assert 0 < found.round_trip < 10_000_000


def test_a_connection_that_was_closed(ends: tuple[socket.socket, socket.socket]) -> None:
    one, _ = ends
    one.close()
    assert traffic.of(one) is None


def test_the_file_is_replaced_when_something_has_passed(
    ends: tuple[socket.socket, socket.socket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = ends
    file = tmp_path / "one.traffic"
    monkeypatch.setattr(traffic, "INTERVAL", 0.01)

    async def pass_some() -> None:
        async with traffic.recorded(one, file):
            async with asyncio.timeout(20):
                while not file.exists():
                    await asyncio.sleep(0.01)
                first = file.stat().st_ino
                await asyncio.sleep(0.1)
                assert file.stat().st_ino == first
                other.sendall(bytes(500))
                while file.read_text().split()[1] != "500":
                    await asyncio.sleep(0.01)

    asyncio.run(pass_some())
    assert [path.name for path in tmp_path.iterdir()] == ["one.traffic"]


def test_a_file_that_cannot_be_written_disturbs_nothing(
    ends: tuple[socket.socket, socket.socket], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def record() -> None:
        async with traffic.recorded(ends[0], tmp_path / "gone/one.traffic"):
            await asyncio.sleep(0.05)

    asyncio.run(record())
    assert "one.traffic: No such file or directory" in caplog.text
