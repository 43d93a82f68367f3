# SPDX-License-Identifier: Apache-2.0
"""The relay of the device's host: whom it serves, whom it refuses, and when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from compute_shim.relay import connection, device, greeting
from compute_shim.relay.credentials import Credentials
from compute_shim.relay.usbredir import DeviceError
from tests.pki import Authority
from tests.unit.relay.conftest import Log
from tests.unit.relay.relays import (
    CLAIM,
    PATIENCE,
    SERVER_HOST,
    Echo,
    Running,
    device_relay,
    echoed,
)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def connected(port: int, context: ssl.SSLContext | None) -> AsyncIterator[Streams]:
    """A connection to the relay; with TLS if there is a context."""
    server_hostname = None if context is None else ""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=server_hostname
    )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


@contextlib.asynccontextmanager
async def admitted(relay: Running, own: Credentials) -> AsyncIterator[Streams]:
    """A connection of the right host for the right claim."""
    async with connected(relay.port, own.client_context()) as (reader, writer):
        writer.write(CLAIM.hello())
        assert await reader.readline() == greeting.welcome()
        yield reader, writer


async def answer(port: int, context: ssl.SSLContext | None, sent: bytes) -> bytes:
    """Everything that the relay answers, until it closes the connection or resets it."""
    received = b""
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(OSError):
            async with connected(port, context) as (reader, writer):
                if sent:
                    writer.write(sent)
                else:
                    writer.close()
                while part := await reader.read(1024):
                    received += part
    return received


async def refuses(relay: Running, context: ssl.SSLContext | None, sent: bytes, log: Log) -> tuple[bytes, str]:
    """The answer to a connection that has to be refused, and the one line about it in the log."""
    before = len(log.warnings())
    received = await answer(relay.port, context, sent)
    async with asyncio.timeout(PATIENCE):
        while len(log.warnings()) == before:
            await asyncio.sleep(0.01)
    [line] = log.warnings()[before:]
    assert relay.state["state"] == "listening"
    assert [it.received for it in relay.devices] == [0]
    return received, line.removeprefix("Refused 127.0.0.1: ")


NONE = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
NONE.check_hostname, NONE.verify_mode = False, ssl.CERT_NONE
GARBAGE = random.Random(1).randbytes(4096)


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        ("other authority", "its certificate is not valid: unable to get local issuer certificate"),
        ("expired", "its certificate is not valid: certificate has expired"),
        ("other host", f"its certificate is for 'usbhost3.example.org', not for {SERVER_HOST!r}"),
        ("wildcard", f"its certificate is for '*.example.org', not for {SERVER_HOST!r}"),
        ("longer name", f"its certificate is for '{SERVER_HOST}.evil.example', not for {SERVER_HOST!r}"),
        ("common name", f"its certificate is for no host, not for {SERVER_HOST!r}"),
    ],
)
def test_another_certificate_is_refused(
    certificate: str,
    reason: str,
    tmp_path: Path,
    authority: Authority,
    other_authority: Authority,
    device_host: Credentials,
    server_host: Credentials,
    log: Log,
) -> None:
    presented = {
        "other authority": lambda: other_authority.issue("stranger", SERVER_HOST, trusts=authority),
        "expired": lambda: authority.issue("expired", SERVER_HOST, expired=True),
        "other host": lambda: authority.issue("usbhost3", "usbhost3.example.org"),
        "wildcard": lambda: authority.issue("wildcard", "*.example.org"),
        "longer name": lambda: authority.issue("longer", f"{SERVER_HOST}.evil.example"),
        "common name": lambda: authority.issue("common", common_name=SERVER_HOST),
    }[certificate]()

    async def scenario() -> None:
        async with device_relay(tmp_path, device_host) as relay:
            assert await refuses(relay, presented.client_context(), CLAIM.hello(), log) == (b"", reason)
            async with admitted(relay, server_host) as streams:
                assert await echoed(*streams)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("context", "sent", "reason"),
    [
        (NONE, CLAIM.hello(), "TLS: peer did not return a certificate"),
        (None, CLAIM.hello(), "TLS: wrong version number"),
        (None, b"GET / HTTP/1.1\r\n\r\n", "TLS: http request"),
        (None, GARBAGE, "TLS: wrong version number"),
        (None, b"\x16\x03\x01\x02\x00\x01" + GARBAGE, "TLS: "),
        (None, b"", "it closed the connection"),
    ],
)
def test_what_is_not_tls_with_a_certificate_is_refused(
    context: ssl.SSLContext | None,
    sent: bytes,
    reason: str,
    tmp_path: Path,
    device_host: Credentials,
    server_host: Credentials,
    log: Log,
) -> None:
    async def scenario() -> None:
        async with device_relay(tmp_path, device_host) as relay:
            received, line = await refuses(relay, context, sent, log)
            assert line.startswith(reason)
            assert b"welcome" not in received
            async with admitted(relay, server_host) as streams:
                assert await echoed(*streams)

    asyncio.run(scenario())


def test_an_older_tls_is_refused(
    tmp_path: Path, device_host: Credentials, server_host: Credentials, log: Log
) -> None:
    async def scenario() -> None:
        older = server_host.client_context()
        older.minimum_version = ssl.TLSVersion.TLSv1_2
        older.maximum_version = ssl.TLSVersion.TLSv1_2
        async with device_relay(tmp_path, device_host) as relay:
            assert await refuses(relay, older, CLAIM.hello(), log) == (b"", "TLS: unsupported protocol")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("sent", "code", "details"),
    [
        (dataclasses.replace(CLAIM, generation=3).hello(), "other_generation", ": 3, not 4"),
        (dataclasses.replace(CLAIM, generation=5).hello(), "other_generation", ": 5, not 4"),
        (dataclasses.replace(CLAIM, claim_id="other").hello(), "other_claim", ": other, not b4e6f1d2-device"),
        (CLAIM.hello().replace(b"relay 1", b"relay 2"), "not_understood", ""),
        (CLAIM.hello().replace(b" 4\n", b" 4 4\n"), "not_understood", ""),
        (b"\n", "not_understood", ""),
        (b"\xff\x00\n", "not_understood", ""),
        (b"x" * 4096, "not_understood", ""),
    ],
)
def test_the_right_host_with_another_claim_is_refused(
    sent: bytes,
    code: str,
    details: str,
    tmp_path: Path,
    device_host: Credentials,
    server_host: Credentials,
    log: Log,
) -> None:
    async def scenario() -> None:
        async with device_relay(tmp_path, device_host) as relay:
            assert await refuses(relay, server_host.client_context(), sent, log) == (
                greeting.refusal(code),
                greeting.REFUSALS[code] + details,
            )

    asyncio.run(scenario())


def test_a_recorded_connection_cannot_be_replayed(
    tmp_path: Path, device_host: Credentials, server_host: Credentials, log: Log
) -> None:
    async def scenario() -> None:
        async with device_relay(tmp_path, device_host) as relay:
            recorded = await record(relay, server_host)
            await relay.reaches("listening")
            assert len(recorded) > 1000
            sent = relay.devices[0].received
            assert sent > 0
            received = await answer(relay.port, None, recorded)
            assert b"welcome" not in received
            assert [it.received for it in relay.devices] == [sent, 0]
            [line] = log.warnings()
            assert line.startswith("Refused 127.0.0.1: TLS: ")

    asyncio.run(scenario())


async def record(relay: Running, own: Credentials) -> bytes:
    """Everything that the right host sends in a whole connection, as it is on the wire."""
    recorded = bytearray()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tape: bytearray) -> None:
        while part := await reader.read(1 << 16):
            tape += part
            writer.write(part)
        writer.close()

    async def listen(*near: *Streams) -> None:
        far = await asyncio.open_connection("127.0.0.1", relay.port)
        await asyncio.gather(forward(near[0], far[1], recorded), forward(far[0], near[1], bytearray()))

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        async with admitted(dataclasses.replace(relay, port=port), own) as streams:
            assert await echoed(*streams, b"a sector" * 64)
    return bytes(recorded)


def test_a_slow_peer_is_refused_and_hinders_nobody(
    tmp_path: Path,
    device_host: Credentials,
    server_host: Credentials,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        async with (
            device_relay(tmp_path, device_host) as relay,
            connected(relay.port, None) as (silent, _),
            connected(relay.port, server_host.client_context()) as (without_greeting, slow),
        ):
            slow.write(CLAIM.hello()[:10])
            # Those that come now have the usual time.
            await asyncio.sleep(0)
            async with admitted(relay, server_host) as streams:
                assert await echoed(*streams)
            monkeypatch.setattr(device, "PATIENCE", 0.2)
            async with connected(relay.port, None) as (late, _):
                assert await late.read() == b""
            # On a busy machine the others are refused by now as well.
            assert set(log.warnings()) == {"Refused 127.0.0.1: no answer within 10 s"}
            del silent, without_greeting

    asyncio.run(scenario())


def test_more_strangers_than_there_is_room_for_wait(
    tmp_path: Path, device_host: Credentials, server_host: Credentials
) -> None:
    def handled() -> int:
        """How many connections the relay looks at."""
        return sum("DeviceRelay._serve" in repr(task.get_coro()) for task in asyncio.all_tasks())

    async def use(relay: Running) -> bool:
        async with admitted(relay, server_host) as streams:
            return await echoed(*streams)

    async def scenario() -> None:
        async with device_relay(tmp_path, device_host) as relay:
            async with contextlib.AsyncExitStack() as strangers:
                for _ in range(3 * device._MOST_CONNECTIONS):
                    await strangers.enter_async_context(connected(relay.port, None))
                using = asyncio.create_task(use(relay))
                async with asyncio.timeout(PATIENCE):
                    while handled() < device._MOST_CONNECTIONS:
                        await asyncio.sleep(0.01)
                await asyncio.sleep(0.05)
                assert handled() == device._MOST_CONNECTIONS
                assert not using.done()
            async with asyncio.timeout(PATIENCE):
                assert await using

    asyncio.run(scenario())


def test_one_connection_at_a_time(
    tmp_path: Path, device_host: Credentials, server_host: Credentials, log: Log
) -> None:
    async def scenario() -> None:
        async with device_relay(tmp_path, device_host) as relay:
            async with admitted(relay, server_host) as streams:
                await relay.reaches("connected")
                second = await answer(relay.port, server_host.client_context(), CLAIM.hello())
                assert second == greeting.refusal("busy")
                assert await echoed(*streams)
                assert relay.state["state"] == "connected"
            await relay.reaches("listening")
            async with admitted(relay, server_host) as streams:
                assert await echoed(*streams)
            assert log.warnings() == [f"Refused 127.0.0.1: {greeting.REFUSALS['busy']}"]

    asyncio.run(scenario())


def test_each_connection_has_a_device_that_forgot_the_last_one(
    tmp_path: Path, device_host: Credentials, server_host: Credentials
) -> None:
    async def scenario() -> None:
        async with device_relay(tmp_path, device_host) as relay:
            for number in range(1, 4):
                async with admitted(relay, server_host) as streams:
                    assert await echoed(*streams)
                await relay.reaches("listening")
                assert [it.closed for it in relay.devices] == [True] * number + [False]

    asyncio.run(scenario())


def test_a_peer_that_breaks_the_protocol_loses_its_connection(
    tmp_path: Path, device_host: Credentials, server_host: Credentials, log: Log
) -> None:
    async def scenario() -> None:
        async with device_relay(tmp_path, device_host) as relay:
            async with admitted(relay, server_host) as (reader, writer):
                writer.write(Echo.NONSENSE)
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            await relay.reaches("listening")
            assert log.warnings() == [f"Closed the connection of {SERVER_HOST}: it does not speak usbredir"]
            async with admitted(relay, server_host) as streams:
                assert await echoed(*streams)

    asyncio.run(scenario())


def test_a_reader_that_stops_costs_bounded_memory(
    tmp_path: Path, device_host: Credentials, server_host: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[connection.Connection] = []
    make = connection.Connection.connection_made

    def record(self: connection.Connection, transport: asyncio.BaseTransport) -> None:
        made.append(self)
        make(self, transport)

    monkeypatch.setattr(connection.Connection, "connection_made", record)

    async def scenario() -> None:
        async with (
            device_relay(tmp_path, device_host) as relay,
            admitted(relay, server_host) as (_, writer),
        ):
            cast(asyncio.Transport, writer.transport).pause_reading()
            with pytest.raises(TimeoutError):
                while True:
                    writer.write(bytes(1 << 16))
                    await asyncio.wait_for(writer.drain(), 0.5)
            [served] = made
            waiting = len(relay.devices[0]._answers) + served.transport.get_write_buffer_size()
            assert connection._MOST_WAITING < waiting < 4 * connection._MOST_WAITING

    asyncio.run(scenario())


def test_it_ends_when_the_device_is_gone(
    tmp_path: Path, device_host: Credentials, server_host: Credentials
) -> None:
    async def scenario() -> None:
        async with device_relay(tmp_path, device_host) as relay, admitted(relay, server_host) as streams:
            assert await echoed(*streams)
            relay.devices[0].unplug("the device was unplugged")
            assert await streams[0].read() == b""
            assert await relay.task == "the device was unplugged"
            assert [it.closed for it in relay.devices] == [True]

    asyncio.run(scenario())


def test_it_ends_when_the_device_cannot_be_taken_again(
    tmp_path: Path, device_host: Credentials, server_host: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with device_relay(tmp_path, device_host) as relay:
            async with admitted(relay, server_host) as streams:
                assert await echoed(*streams)

                def fail(*arguments: object) -> None:
                    raise DeviceError("libusb cannot open the device")

                monkeypatch.setattr(Echo, "__init__", fail)
            assert await relay.task == "libusb cannot open the device"

    asyncio.run(scenario())


def test_a_new_certificate_is_used_for_new_connections_only(
    tmp_path: Path, authority: Authority, other_authority: Authority, server_host: Credentials, log: Log
) -> None:
    own = authority.issue("renewed", "usbhost1")
    of_other = other_authority.issue("renewed", "usbhost1")
    moved = other_authority.issue("server-host", SERVER_HOST)

    async def scenario() -> None:
        async with device_relay(tmp_path, own) as relay:
            async with admitted(relay, server_host) as streams:
                assert await echoed(*streams)
                for old, new in zip(
                    dataclasses.astuple(own)[:2], dataclasses.astuple(of_other)[:2], strict=True
                ):
                    Path(old).write_bytes(Path(new).read_bytes())
                assert await echoed(*streams)
            await relay.reaches("listening")
            # This host trusts the same authority as before, and shows a certificate of the other one.
            peer = dataclasses.replace(server_host, ca=moved.ca)
            async with admitted(relay, peer) as streams:
                assert await echoed(*streams)
            Path(own.cert).write_text("half of a")
            assert await answer(relay.port, None, b"") == b""
            assert log.warnings() == [f"Refused 127.0.0.1: {own.cert} with {own.key}: not readable as PEM"]

    asyncio.run(scenario())
