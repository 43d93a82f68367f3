# SPDX-License-Identifier: Apache-2.0
"""The relay of the device's host: serves the device to one host, one connection at a time."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Protocol

from compute_shim.relay import credentials, greeting, traffic
from compute_shim.relay.connection import PATIENCE, Connection, accept, explained, free_memory, watch_peer
from compute_shim.relay.state import State, StateFile
from compute_shim.relay.usbredir import DeviceError

LOG = logging.getLogger(__name__)

# Connections, admitted or not, at the same time; more of them wait in the kernel.
_MOST_CONNECTIONS = 16
_REFUSALS = (OSError, greeting.Refused, credentials.WrongPeer)


class Redirection(Protocol):
    """What `DeviceRelay` uses of `compute_shim.relay.usbredir.Redirection`."""

    def connect(self, write: Callable[[bytes], bool]) -> None:
        """Send to a peer from now on."""

    def receive(self, data: bytes) -> None:
        """Take bytes of the peer."""

    def flush(self) -> None:
        """Send what waits."""

    def close(self) -> None:
        """Give the device back."""


class DeviceRelay:
    """Holds a device, and serves it.

    :param hold: takes the device from the host's drivers until it is closed; called with what is to be called
        when the device is gone. Raises `DeviceError`.
    :param listening: TCP socket.
    :param peer: name of the server's host, as in its certificate.
    """

    def __init__(
        self,
        hold: Callable[[Callable[[str], None]], Redirection],
        listening: socket.socket,
        peer: str,
        claim: greeting.Claim,
        own: credentials.Credentials,
        state: StateFile,
    ) -> None:
        self._hold = hold
        self._listening = listening
        self._peer = peer
        self._claim = claim
        self._own = own
        self._state = state
        self._redirection: Redirection | None = None
        self._served: Connection | None = None

    async def run(self) -> str:
        """Serve until the device is gone, or this is cancelled; then the device is with the host again.

        :returns: why it ended
        :raises DeviceError: the device cannot be opened
        """
        self._gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._redirection = self._hold(self._lose)
        try:
            self._state.write(State.LISTENING)
            async with asyncio.TaskGroup() as tasks:
                accepting = tasks.create_task(self._accept())
                reason = await self._gone
                accepting.cancel()
            return reason
        finally:
            if self._redirection is not None:
                self._redirection.close()

    def _lose(self, reason: str) -> None:
        if not self._gone.done():
            self._gone.set_result(reason)

    async def _accept(self) -> None:
        room = asyncio.Semaphore(_MOST_CONNECTIONS)
        self._listening.setblocking(False)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await room.acquire()
                accepted, address = await accept(self._listening)
                tasks.create_task(self._serve(accepted, address[0])).add_done_callback(
                    lambda done: room.release()
                )

    async def _serve(self, accepted: socket.socket, address: str) -> None:
        """Serve one connection from its handshake to its end."""
        connection = Connection()
        try:
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._admit(connection, accepted)
            except _REFUSALS as error:
                LOG.warning("Refused %s: %s", address, explained(error))
                return
            LOG.info("Connected: %s at %s", self._peer, address)
            self._state.write(State.CONNECTED)
            async with traffic.recorded(accepted, self._state.traffic):
                # Not awaited itself, which would cancel it with this task.
                await asyncio.wait({connection.lost})
            LOG.info("%s at %s is gone: %s", self._peer, address, explained(connection.lost.result()))
        finally:
            await connection.close()
            free_memory()
            # Not before: until then the connection calls it.
            if self._served is connection:
                self._let_go()

    async def _admit(self, connection: Connection, accepted: socket.socket) -> None:
        try:
            watch_peer(accepted)
            context = self._own.server_context()
        except OSError:
            accepted.close()
            raise
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: connection, accepted, ssl=context, ssl_shutdown_timeout=PATIENCE
        )
        credentials.refuse_other(connection.transport.get_extra_info("peercert"), self._peer)
        line = await connection.line()
        try:
            self._claim.admit(line)
            if self._served is not None:
                raise greeting.Refused("busy")
        except greeting.Refused as refused:
            connection.write(greeting.refusal(refused.code))
            raise
        self._served = connection
        connection.write(greeting.welcome())
        self._join(connection)

    def _join(self, connection: Connection) -> None:
        redirection = self._redirection
        assert redirection is not None

        def write(data: bytes) -> bool:
            if connection.full:
                return False
            connection.write(data)
            return True

        def receive(data: bytes) -> None:
            try:
                redirection.receive(data)
            except DeviceError as error:
                LOG.warning("Closed the connection of %s: %s", self._peer, error)
                connection.transport.abort()

        def resume() -> None:
            redirection.flush()
            connection.resume_reading()

        redirection.connect(write)
        # A peer that does not read its answers asks for nothing more.
        connection.pour(receive, connection.pause_reading, resume)

    def _let_go(self) -> None:
        """The next connection begins anew, with a device that forgot the last one."""
        self._served = None
        if self._redirection is not None:
            self._redirection.close()
            self._redirection = None
        if self._gone.done():
            return
        try:
            self._redirection = self._hold(self._lose)
        except DeviceError as error:
            self._lose(str(error))
        else:
            self._state.write(State.LISTENING)
