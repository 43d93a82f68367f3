# SPDX-License-Identifier: Apache-2.0
"""The relay of the server's host: connects QEMU with the relay of the device's host. It moves bytes only."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import ssl
from typing import Any, NoReturn

from compute_shim.relay import credentials, greeting, traffic
from compute_shim.relay.connection import (
    PATIENCE,
    Connection,
    accept,
    explained,
    free_memory,
    join,
    watch_peer,
)
from compute_shim.relay.state import State, StateFile

LOG = logging.getLogger(__name__)

# Seconds between two tries; the last one is repeated.
_DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0)


class ServerRelay:
    """Accepts QEMU, and connects it.

    :param listening: unix socket.
    :param address: host and port of the other relay.
    :param peer: name of the device's host, as in its certificate.
    """

    def __init__(
        self,
        listening: socket.socket,
        address: tuple[str, int],
        peer: str,
        claim: greeting.Claim,
        own: credentials.Credentials,
        state: StateFile,
    ) -> None:
        self._listening = listening
        self._address = address
        self._peer = peer
        self._claim = claim
        self._own = own
        self._state = state

    async def run(self) -> NoReturn:
        """Serve until this is cancelled."""
        self._listening.setblocking(False)
        self._state.write(State.LISTENING)
        async with asyncio.TaskGroup() as tasks:
            serving: asyncio.Task[None] | None = None
            while True:
                accepted, _ = await accept(self._listening)
                if serving is None or serving.done():
                    serving = tasks.create_task(self._serve(accepted))
                else:
                    LOG.warning("Refused a second connection to the unix socket")
                    accepted.close()

    async def _serve(self, accepted: socket.socket) -> None:
        """Serve one connection of QEMU, until it or the other relay ends it."""
        qemu = Connection()
        await asyncio.get_running_loop().connect_accepted_socket(lambda: qemu, accepted)
        reaching = asyncio.create_task(self._reach())
        far: Connection | None = None
        try:
            ends: list[asyncio.Future[Any]] = [reaching, qemu.lost]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if reaching.done():
                far = reaching.result()
                join(qemu, far)
                self._state.write(State.CONNECTED)
                async with traffic.recorded(far.transport.get_extra_info("socket"), self._state.traffic):
                    await asyncio.wait({qemu.lost, far.lost}, return_when=asyncio.FIRST_COMPLETED)
                who, lost = (self._peer, far.lost) if far.lost.done() else ("QEMU", qemu.lost)
                LOG.info("%s is gone: %s", who, explained(lost.result()))
        finally:
            reaching.cancel()
            await asyncio.wait({reaching})
            if far is not None:
                await far.close()
            await qemu.close()
            free_memory()
            self._state.write(State.LISTENING)

    async def _reach(self) -> Connection:
        """Connect to the other relay, as often as it takes."""
        delays = itertools.chain(_DELAYS, itertools.repeat(_DELAYS[-1]))
        is_reached = asyncio.Event()
        told = ""
        self._state.write(State.CONNECTING)
        while True:
            is_reached.clear()
            try:
                async with asyncio.timeout(PATIENCE):
                    far = await self._connect(is_reached)
            except (OSError, greeting.Refused, credentials.WrongPeer) as error:
                reason = explained(error)
                refused = is_reached.is_set() or isinstance(error, ssl.SSLError)
            else:
                LOG.info("Connected: %s at %s port %s", self._peer, *self._address)
                return far
            self._state.write(State.CONNECTING, reason, refused=refused)
            if reason != told:
                LOG.warning("Cannot connect to %s at %s port %s: %s", self._peer, *self._address, reason)
            told = reason
            await asyncio.sleep(next(delays))

    async def _connect(self, is_reached: asyncio.Event) -> Connection:
        """Connect once.

        :param is_reached: is set when the TLS connection is established.
        """
        far = Connection()
        host, port = self._address
        try:
            # No server_hostname: it would cross the wire in plain text, and `refuse_other` compares the name.
            await asyncio.get_running_loop().create_connection(
                lambda: far,
                host,
                port,
                ssl=self._own.client_context(),
                server_hostname="",
                ssl_shutdown_timeout=PATIENCE,
            )
            is_reached.set()
            watch_peer(far.transport.get_extra_info("socket"))
            credentials.refuse_other(far.transport.get_extra_info("peercert"), self._peer)
            far.write(self._claim.hello())
            greeting.check_answer(await far.line())
        except BaseException:
            await far.close()
            free_memory()
            raise
        return far
