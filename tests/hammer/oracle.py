# SPDX-License-Identifier: Apache-2.0
"""What has to be true of quotas, leases and lines, by what the database says every moment.

What is seen of one moment is one transaction. That something was so between two looks is concluded only if
both say so.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection, Iterator

import sqlalchemy as sa

from compute_shim.objects import State

#: The limit of devices for a server that the service runs with.
MOST_DEVICES = 2
# Twice what it takes a conductor to look for those in line ([5 s]) and an agent to tell (2 s), and a killed
# conductor to be missed by the message bus.
_IDLE_SECONDS = 20.0
_CLAIMED = (State.ATTACHING, State.ATTACHED, State.WAITING, State.FAILED)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A place in line."""

    id: str
    order: tuple[int, int]
    server: str
    project: str


@dataclasses.dataclass(frozen=True)
class Stick:
    """A device."""

    id: str
    state: str
    server: str | None
    shared_with: frozenset[str]


@dataclasses.dataclass(frozen=True)
class Moment:
    """What the database says.

    :param events: number, cause, device and server of all events in which somebody got a device.
    """

    at: float
    sticks: dict[str, Stick]
    line: list[Entry]
    domains: frozenset[str]
    last_event: int
    events: list[tuple[int, str, str, str]]

    def claims(self, server: str) -> int:
        """How many devices a server has."""
        return sum(it.server == server and it.state in _CLAIMED for it in self.sticks.values())

    def eligible(self, entry: Entry, stick: Stick) -> bool:
        """Whether an entry could have a stick if that were free."""
        return (
            entry.server in self.domains
            and entry.project in stick.shared_with
            and self.claims(entry.server) < MOST_DEVICES
        )


def look(connection: sa.Connection, since: int, projects: Collection[str]) -> Moment:
    """See how things are.

    :param since: the number of the last event that is known.
    """
    shares: dict[str, set[str]] = {}
    for device_id, project in connection.execute(
        sa.text("SELECT device_id, project_id FROM usb_device_projects")
    ):
        shares.setdefault(device_id, set()).add(project)
    sticks = {
        row.id: Stick(
            row.id,
            row.state,
            row.instance_uuid,
            frozenset(projects if row.shared else shares.get(row.id, ())),
        )
        for row in connection.execute(
            sa.text("SELECT id, state, instance_uuid, shared FROM host_usb_devices")
        )
    }
    line = [
        Entry(row.entry_id, (row.round, row.id), row.server_id, row.project_id)
        for row in connection.execute(
            sa.text("SELECT id, entry_id, round, server_id, project_id FROM usb_queue ORDER BY round, id")
        )
    ]
    domains = frozenset(connection.scalars(sa.text("SELECT instance_uuid FROM usb_instances")))
    events = [
        (row.id, row.cause_code, row.device_id, row.instance_uuid)
        for row in connection.execute(
            sa.text(
                "SELECT id, cause_code, device_id, instance_uuid FROM usb_device_events"
                " WHERE id > :since AND state = 'attaching' ORDER BY id"
            ),
            {"since": since},
        )
    ]
    last = events[-1][0] if events else since
    return Moment(time.monotonic(), sticks, line, domains, last, events)


class Watcher:
    """Looks at one moment after the other.

    :ivar served: (server, number of the event) of all that were served.
    """

    def __init__(self) -> None:
        self.served: list[tuple[str, int]] = []
        self._idle_since: dict[str, float] = {}
        self._before: Moment | None = None

    def see(self, now: Moment) -> Iterator[str]:
        """What is wrong."""
        yield from self._over_limit(now)
        yield from self._idle(now)
        if self._before is not None:
            yield from self._jumped(self._before, now)
        self.served += [
            (server, number) for number, cause, _, server in now.events if cause == "queue_served"
        ]
        self._before = now

    def _over_limit(self, now: Moment) -> Iterator[str]:
        for server in {it.server for it in now.sticks.values() if it.server}:
            if now.claims(server) > MOST_DEVICES:
                yield f"server {server} has {now.claims(server)} devices"

    def _idle(self, now: Moment) -> Iterator[str]:
        for stick in now.sticks.values():
            waited_for = stick.state == State.AVAILABLE and any(now.eligible(it, stick) for it in now.line)
            if not waited_for:
                self._idle_since.pop(stick.id, None)
            elif now.at - self._idle_since.setdefault(stick.id, now.at) > _IDLE_SECONDS:
                self._idle_since[stick.id] = now.at
                yield f"stick {stick.id} was idle for {_IDLE_SECONDS} s, and wanted by {now.line}"

    def _jumped(self, before: Moment, now: Moment) -> Iterator[str]:
        """Who got a stick although somebody else was before them, in both moments."""
        still = {entry.id for entry in now.line}
        for _, cause, device_id, server in now.events:
            stick, then = now.sticks.get(device_id), before.sticks.get(device_id)
            if cause not in ("queue_served", "requested") or stick is None or then is None:
                continue
            if stick.server != server or stick.state not in _CLAIMED or then.server is not None:
                continue  # not a claim, or one that is over
            own = next((it for it in before.line if it.server == server), None)
            if cause == "queue_served" and own is None:
                continue  # it joined, and was served, in between
            for entry in before.line:
                earlier = cause == "requested" or own is None or entry.order < own.order
                waits = entry.id in still and entry.server != server
                able = before.eligible(entry, then) and now.eligible(entry, stick)
                # A device that just became free was given away before others could know.
                if earlier and waits and able and then.state == State.AVAILABLE:
                    yield f"{server} got stick {device_id} ({cause}) before {entry}"


def lost(
    joined: dict[str, tuple[str, float]],
    explained: Collection[str],
    line: Collection[Entry],
    served: Collection[tuple[str, int]],
) -> Iterator[str]:
    """Acknowledged places in line that are gone without a reason.

    :param joined: entry id -> server, and when that was.
    :param explained: entries that were given up, or whose server was deleted or got a device by itself.
    """
    there = {entry.id for entry in line}
    times: dict[str, int] = {}
    for server, _ in served:
        times[server] = times.get(server, 0) + 1
    for entry_id, (server, _) in joined.items():
        if entry_id in there or entry_id in explained:
            continue
        if times.get(server, 0) == 0:
            yield f"the place {entry_id} of server {server} is lost"
        else:
            times[server] -= 1
