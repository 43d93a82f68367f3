# SPDX-License-Identifier: Apache-2.0
"""The relay of the server's host, alone and with the other one."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import random
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from compute_shim.relay import connection, greeting, server
from compute_shim.relay.credentials import Credentials
from tests.pki import Authority
from tests.unit.relay.conftest import Log
from tests.unit.relay.relays import (
    CLAIM,
    DEVICE_HOST,
    PATIENCE,
    SERVER_HOST,
    device_relay,
    echoed,
    qemu,
    server_relay,
)

_MEBIBYTE = 1 << 20
NOT_GREETED = "it closed the connection before it greeted; its log has the reason"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tries again at once."""
    monkeypatch.setattr(server, "_DELAYS", (0.01,))


def test_qemu_reaches_the_device(tmp_path: Path, device_host: Credentials, server_host: Credentials) -> None:
    async def scenario() -> None:
        async with (
            device_relay(tmp_path, device_host) as far,
            server_relay(tmp_path, server_host, far.port) as near,
        ):
            for _ in range(3):
                async with qemu(near) as streams:
                    assert await echoed(*streams)
                    await near.reaches("connected")
                    await far.reaches("connected")
                await near.reaches("listening")
                await far.reaches("listening")

    asyncio.run(scenario())


def test_much_data_both_ways_arrives_whole(
    tmp_path: Path, device_host: Credentials, server_host: Credentials
) -> None:
    data = random.Random(2).randbytes(16 * _MEBIBYTE)

    async def scenario() -> None:
        async with (
            device_relay(tmp_path, device_host) as far,
            server_relay(tmp_path, server_host, far.port) as near,
            qemu(near) as (reader, writer),
        ):

            async def send() -> None:
                for begin in range(0, len(data), 50_000):
                    writer.write(data[begin : begin + 50_000])
                    await writer.drain()

            _, received = await asyncio.gather(send(), reader.readexactly(len(data)))
            assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()

    asyncio.run(scenario())


def test_it_waits_for_a_qemu_that_does_not_read(
    tmp_path: Path, device_host: Credentials, server_host: Credentials
) -> None:
    """Neither relay keeps more than its buffers; the rest waits where it comes from."""

    async def scenario() -> None:
        async with (
            device_relay(tmp_path, device_host) as far,
            server_relay(tmp_path, server_host, far.port) as near,
            qemu(near) as (reader, writer),
        ):
            cast(asyncio.Transport, writer.transport).pause_reading()
            sent = 0
            with pytest.raises(TimeoutError):
                while True:
                    writer.write(bytes(1 << 16))
                    sent += 1 << 16
                    await asyncio.wait_for(writer.drain(), 0.5)
            assert len(far.devices[0]._answers) < 4 * connection._MOST_WAITING
            cast(asyncio.Transport, writer.transport).resume_reading()
            async with asyncio.timeout(PATIENCE):
                await reader.readexactly(sent)

    asyncio.run(scenario())


@contextlib.asynccontextmanager
async def played(own: Credentials | None, answer: bytes) -> AsyncIterator[int]:
    """The port of a server that answers so to a line; with TLS if there is a certificate."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.readline()
            writer.write(answer)
            writer.close()

    context = None if own is None else own.server_context()
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as listening:
        yield listening.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        ("other authority", "its certificate is not valid: unable to get local issuer certificate"),
        ("expired", "its certificate is not valid: certificate has expired"),
        ("other host", f"its certificate is for 'usbhost3.example.org', not for {DEVICE_HOST!r}"),
        ("wildcard", f"its certificate is for '*.example.org', not for {DEVICE_HOST!r}"),
        ("plain", "TLS: wrong version number"),
    ],
)
def test_another_host_than_the_device_s_gets_no_byte_of_qemu(
    certificate: str,
    reason: str,
    tmp_path: Path,
    authority: Authority,
    other_authority: Authority,
    server_host: Credentials,
    log: Log,
) -> None:
    presented = None
    if certificate == "other authority":
        presented = other_authority.issue("stranger", DEVICE_HOST, trusts=authority)
    elif certificate != "plain":
        name = {"expired": DEVICE_HOST, "other host": "usbhost3.example.org", "wildcard": "*.example.org"}
        presented = authority.issue("bad", name[certificate], expired=certificate == "expired")

    async def scenario() -> None:
        async with (
            played(presented, b"usb-shim-relay 0\n") as port,
            server_relay(tmp_path, server_host, port) as near,
            qemu(near) as (reader, writer),
        ):
            writer.write(b"hello of QEMU")
            await near.reaches("connecting", reason)
            # It tries again and again, and says so once.
            await asyncio.sleep(0.1)
            assert log.warnings() == [f"Cannot connect to {DEVICE_HOST} at 127.0.0.1 port {port}: {reason}"]
            assert not reader.at_eof()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        *((greeting.refusal(code), text) for code, text in greeting.REFUSALS.items()),
        (b"usb-shim-relay 1 refused <b>\n", greeting.REFUSALS["not_understood"]),
        (b"usb-shim-relay 1 refused unknown\n", greeting.REFUSALS["not_understood"]),
        (b"usb-shim-relay 2 welcome\n", greeting.REFUSALS["not_understood"]),
        (b"x" * 4096, greeting.REFUSALS["not_understood"]),
        (b"", NOT_GREETED),
    ],
)
def test_it_tries_again_after_a_refusal(
    answer: bytes, reason: str, tmp_path: Path, device_host: Credentials, server_host: Credentials
) -> None:
    async def scenario() -> None:
        async with (
            played(device_host, answer) as port,
            server_relay(tmp_path, server_host, port) as near,
            qemu(near),
        ):
            await near.reaches("connecting", reason)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"generation": 3}, greeting.REFUSALS["other_generation"]),
        ({"claim_id": "other"}, greeting.REFUSALS["other_claim"]),
    ],
)
def test_both_relays_say_which_claim_does_not_match(
    change: dict[str, Any], reason: str, tmp_path: Path, device_host: Credentials, server_host: Credentials
) -> None:
    async def scenario() -> None:
        async with (
            device_relay(tmp_path, device_host) as far,
            server_relay(tmp_path, server_host, far.port, claim=dataclasses.replace(CLAIM, **change)) as near,
            qemu(near),
        ):
            await near.reaches("connecting", reason)
            assert far.state["state"] == "listening"

    asyncio.run(scenario())


def test_the_device_s_host_refuses_this_one(
    tmp_path: Path, authority: Authority, device_host: Credentials, server_host: Credentials, log: Log
) -> None:
    expired = authority.issue("late", SERVER_HOST, expired=True)

    async def scenario() -> None:
        async with (
            device_relay(tmp_path, device_host) as far,
            server_relay(tmp_path, expired, far.port) as near,
            qemu(near) as streams,
        ):
            await near.reaches("connecting", NOT_GREETED)
            assert (
                "Refused 127.0.0.1: its certificate is not valid: certificate has expired" in log.warnings()
            )
            # Replaced, it is used at the next try.
            for old, new in zip(
                dataclasses.astuple(expired)[:2], dataclasses.astuple(server_host)[:2], strict=True
            ):
                Path(old).write_bytes(Path(new).read_bytes())
            assert await echoed(*streams)
            await near.reaches("connected")

    asyncio.run(scenario())


def test_what_qemu_says_before_the_device_is_there_is_not_lost(
    tmp_path: Path, device_host: Credentials, server_host: Credentials
) -> None:
    async def scenario() -> None:
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            port = reserved.getsockname()[1]
            async with server_relay(tmp_path, server_host, port) as near, qemu(near) as (reader, writer):
                writer.write(b"hello of QEMU")
                await near.reaches("connecting", "Connection refused")
                reserved.close()
                async with device_relay(tmp_path, device_host, port=port) as far, asyncio.timeout(PATIENCE):
                    assert await reader.readexactly(13) == b"hello of QEMU"
                    assert far.devices[0].received == 13

    asyncio.run(scenario())


def test_a_qemu_that_goes_ends_the_search(tmp_path: Path, server_host: Credentials) -> None:
    async def scenario() -> None:
        # It accepts, and says nothing.
        with socket.create_server(("127.0.0.1", 0)) as silent:
            async with server_relay(tmp_path, server_host, silent.getsockname()[1]) as near:
                for _ in range(2):
                    async with qemu(near):
                        await near.reaches("connecting")
                    await near.reaches("listening")

    asyncio.run(scenario())


def test_one_qemu_at_a_time(
    tmp_path: Path, device_host: Credentials, server_host: Credentials, log: Log
) -> None:
    async def scenario() -> None:
        async with (
            device_relay(tmp_path, device_host) as far,
            server_relay(tmp_path, server_host, far.port) as near,
            qemu(near) as streams,
        ):
            assert await echoed(*streams)
            async with qemu(near) as (second, _):
                assert await second.read() == b""
            assert await echoed(*streams)
            assert log.warnings() == ["Refused a second connection to the unix socket"]

    asyncio.run(scenario())


def test_qemu_s_connection_ends_with_the_device(
    tmp_path: Path, device_host: Credentials, server_host: Credentials
) -> None:
    async def scenario() -> None:
        async with (
            device_relay(tmp_path, device_host) as far,
            server_relay(tmp_path, server_host, far.port) as near,
            qemu(near) as (reader, writer),
        ):
            assert await echoed(reader, writer)
            far.devices[0].unplug("the device was unplugged")
            assert await reader.read() == b""
            await near.reaches("listening")

    asyncio.run(scenario())


def test_the_wire_shows_no_plain_byte(
    tmp_path: Path, device_host: Credentials, server_host: Credentials
) -> None:
    """Neither what is carried, nor the claim, nor a name."""
    wire = bytearray()

    async def scenario() -> None:
        async with device_relay(tmp_path, device_host) as far:

            async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                while part := await reader.read(1 << 16):
                    wire.extend(part)
                    writer.write(part)
                writer.close()

            async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                other_reader, other_writer = await asyncio.open_connection("127.0.0.1", far.port)
                await asyncio.gather(forward(reader, other_writer), forward(other_reader, writer))

            async with (
                await asyncio.start_server(listen, "127.0.0.1", 0) as proxy,
                server_relay(tmp_path, server_host, proxy.sockets[0].getsockname()[1]) as near,
                qemu(near) as streams,
            ):
                assert await echoed(*streams, b"a sector" * 64)
                await near.reaches("connected")

    asyncio.run(scenario())
    assert len(wire) > 1000
    for plain in (b"a sector", CLAIM.claim_id.encode(), b"example.org", b"usb-shim"):
        assert plain not in wire
