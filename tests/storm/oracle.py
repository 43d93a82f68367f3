# SPDX-License-Identifier: Apache-2.0
"""What has to be true: clients, database, APIs and the domains of the hosts agree on every claim."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Collection, Iterator, Mapping

from compute_shim.objects import State

# Of the last events of each device, so many are kept to explain a violation.
_HISTORY = 40

#: Device id -> state and id of its server.
Shown = Mapping[str, tuple[str, str | None]]


class Ledger:
    """What the clients know of their claims, and what contradicts it.

    All requests of one server come from one client, one after the other: nobody else may end its claims. Any
    number of clients use this at once.

    :ivar violations: what must never be.
    """

    def __init__(self) -> None:
        self.violations: list[str] = []
        self._lock = threading.Lock()
        self._began = time.monotonic()
        # Acknowledged, and not asked back. More than one owner is a violation, and is kept.
        self._owners: dict[str, set[str]] = collections.defaultdict(set)
        self._history: dict[str, collections.deque[str]] = collections.defaultdict(
            lambda: collections.deque(maxlen=_HISTORY)
        )

    def holds(self, server: str, device: str) -> bool:
        """Whether the server has an acknowledged claim that it did not ask to release."""
        with self._lock:
            return server in self._owners[device]

    def devices_of(self, server: str) -> list[str]:
        """The devices of the acknowledged claims of a server, in a stable order."""
        with self._lock:
            return sorted(device for device, owners in self._owners.items() if server in owners)

    def claims(self) -> dict[str, str]:
        """Device id -> the server that has it."""
        with self._lock:
            return {device: owner for device, owners in self._owners.items() for owner in owners}

    def taken_out(self, server: str, device: str) -> None:
        """A detach was acknowledged."""
        with self._lock:
            self._note(device, f"detach acknowledged to {server}")

    def granted(self, server: str, device: str) -> None:
        """An attach was acknowledged."""
        with self._lock:
            others = self._owners[device] - {server}
            self._owners[device].add(server)
            self._note(device, f"granted to {server}")
            if others:
                self._violation(device, f"double owner: granted to {server}, and {others} has it")

    def refused(self, server: str, device: str, why: str) -> None:
        """An attach was refused."""
        with self._lock:
            self._note(device, f"refused to {server}: {why}")
            if server in self._owners[device]:
                self._violation(device, f"lost claim: {server} has it, and is told {why}")

    def lost(self, server: str, device: str) -> None:
        """The first request to detach a device that the server has was answered: there is none."""
        with self._lock:
            self._violation(device, f"lost claim: {server} had it, and had nothing to give up")

    def giving_up(self, server: str, device: str) -> None:
        """A request to detach is about to be sent: from now on another server may get the device."""
        with self._lock:
            self._note(device, f"given up by {server}")
            self._owners[device].discard(server)

    def listed(self, server: str, states: Mapping[str, str], inside: Collection[str]) -> None:
        """The attachments of a server were listed, by the one client that can change them.

        :param states: by device id.
        :param inside: what is in the domain of the server now.
        """
        with self._lock:
            had = {device for device, owners in self._owners.items() if server in owners}
            claimed = {device for device, state in states.items() if state != State.DETACHING}
            for device in had - claimed:
                self._violation(device, f"lost claim: {server} has it, and its list has {states.get(device)}")
            for device in claimed - had:
                self._violation(device, f"unasked claim: {server} does not have it, its list does")
            for device in had & claimed - set(inside):
                if states[device] == State.ATTACHED:
                    self._violation(device, f"said to be attached, and not in the domain of {server}")

    def _note(self, device: str, event: str) -> None:
        self._history[device].append(f"{time.monotonic() - self._began:7.1f} s  {event}")

    def _violation(self, device: str, what: str) -> None:
        history = "".join(f"\n    {event}" for event in self._history[device])
        self.violations.append(f"device {device}: {what}{history}")


def disagreements(
    claims: Mapping[str, str],
    devices: Collection[str],
    rows: Shown,
    shown: Mapping[str, Shown],
    domains: Mapping[str, Collection[str]],
) -> Iterator[str]:
    """Whatever is not as it has to be when everything runs and nobody asks for anything.

    :param claims: device id -> the server that has it, as the clients know.
    :param devices: all there are.
    :param rows: of the database.
    :param shown: what each API shows an operator, by the name of the API.
    :param domains: server id -> the ids of the devices in its domain.
    """
    for device in sorted({*devices, *rows}):
        owner = claims.get(device)
        wanted = (str(State.ATTACHED if owner else State.AVAILABLE), owner)
        if rows.get(device) != wanted:
            yield f"device {device}: should be {wanted}, the database says {rows.get(device)}"
        for api, view in shown.items():
            if view.get(device) != wanted:
                yield f"device {device}: should be {wanted}, {api} shows {view.get(device)}"
        inside = [server for server, contents in domains.items() if device in contents]
        if inside != ([owner] if owner else []):
            yield f"device {device}: belongs to {owner}, and is in the domains of {inside}"
