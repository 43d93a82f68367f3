# SPDX-License-Identifier: Apache-2.0
"""Hosts with sticks, of which servers on other hosts have some over the network."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from compute_shim.db import channels, intent, models, queries, syncs
from compute_shim.db.api import Database
from compute_shim.db.channels import Move
from compute_shim.objects import Claim, ClaimStatus, Device, ReasonCode, Server, State
from tests.unit.db.test_absence import window
from tests.unit.db.test_states import STICK, empty_database

# The device is here; the server is there.
HERE, THERE, THIRD = "compute1", "compute2", "compute3"
SERVER, OTHER = "a", "b"
# Of whatever an agent tells.
DIGEST = "digest"
CONNECTING = ReasonCode.CHANNEL_CONNECTING


class Hosts:
    """Hosts that take part in the network transport, and sticks on the first one.

    :param kind: of the sticks.
    """

    def __init__(self, *serials: str, kind: str | None = None) -> None:
        self.db: Database = empty_database()
        # By host, which is plugged in at the next sync.
        self.sticks: dict[str, list[Device]] = {}
        self.plug(HERE, *(serials or ("A",)), kind=kind)
        self.addresses: dict[str, str | None] = {host: f"{host}.example" for host in (HERE, THERE, THIRD)}
        self.sync(HERE)
        self.sync(THERE, SERVER, OTHER)
        self.sync(THIRD)

    def plug(self, host: str, *serials: str, **changes: Any) -> None:
        """From the next sync on these are there, and no others."""
        stick = dataclasses.replace(STICK, **{"over_network": True, **changes})
        self.sticks[host] = [dataclasses.replace(stick, identity=it, serial=it) for it in serials]

    def sync(self, host: str, *servers: str, running: bool = True) -> list[Claim]:
        """What the agent of a host is answered, which has these servers."""
        return queries.sync_host(
            self.db,
            host,
            "QEMU",
            "1.4",
            self.sticks.get(host, []),
            servers=dict.fromkeys(servers, Server(running)),
            digest=DIGEST,
            relay_address=self.addresses[host],
        )

    def silence(self, *hosts: str) -> None:
        """The agents of these hosts have not been heard of for long."""
        past = window().begin.replace(year=2000)
        with self.db.writer() as session:
            session.execute(sa.update(models.Host).where(models.Host.host.in_(hosts)).values(last_seen=past))

    def forbid(self, serial: str = "A") -> None:
        """From the next sync on the rule of a stick does not allow the network."""
        self.sticks[HERE] = [
            dataclasses.replace(it, over_network=False) if it.serial == serial else it
            for it in self.sticks[HERE]
        ]

    def lack(self, missing: str | None) -> None:
        """From the next syncs on the stick's rule does not allow the network, or a host takes no part."""
        if missing == "rule":
            self.forbid()
        elif missing is not None:
            self.addresses[missing] = None

    def create(self, **days: int) -> None:
        """Serial number of each stick -> the day in January 2020 from which it is known."""
        with self.db.writer() as session:
            for serial, day in days.items():
                created = window().begin.replace(year=2020, month=1, day=day)
                changed = sa.update(models.Device).where(models.Device.serial == serial)
                session.execute(changed.values(created_at=created))

    def statements(self) -> list[str]:
        """What the database is asked from now on."""
        made: list[str] = []

        def note(*given: Any) -> None:
            if given[2] != "BEGIN":
                made.append(given[2])

        sa.event.listen(self.db.engine(), "before_cursor_execute", note)
        return made

    def row(self, serial: str = "A") -> models.Device:
        [row] = queries.devices(self.db, models.Device.serial == serial)
        return row

    def attach(self, serial: str = "A", server: str = SERVER, host: str | None = THERE, **more: Any) -> None:
        """A server has a stick, over the network if it is on another host."""
        more.setdefault("transport", "any")
        assert intent.claim(self.db, self.row(serial).id, server, "demo", server_host=host, **more)

    def tell(
        self,
        host: str,
        state: State,
        code: ReasonCode | None = None,
        reason: str | None = None,
        *,
        port: int | None = None,
        generation: int = 0,
        serial: str = "A",
    ) -> set[str]:
        """An agent tells what became of the claim; of one that is so many generations older."""
        row = self.row(serial)
        outcome = ClaimStatus(row.id, row.generation - generation, state, reason, code, port=port)
        return queries.record_statuses(self.db, host, [outcome])

    def retry(self, serial: str = "A") -> None:
        """The user asks again after a failure."""
        row = self.row(serial)
        assert intent.retry(self.db, row.id, row.instance_uuid or "")

    def serve(self, port: int = 49300) -> None:
        """The relay of the stick waits for the other one."""
        self.tell(HERE, State.WAITING, CONNECTING, port=port)

    def told(self, host: str, serial: str = "A") -> Claim:
        """What the agent of a host is told of a stick, which is the same on all ways to it."""
        row = self.row(serial)
        found = {name: claim for name, _, claim in intent.claims_for_agents(self.db, row.id)}
        with self.db.reader() as session:
            rows = session.scalars(sa.select(models.Device).where(models.Device.host == host)).all()
            [claim] = [it for it in channels.claims(session, host, rows) if it.device_id == row.id]
        repeated = syncs.unchanged(self.db, host, DIGEST, len(self.sticks.get(host, [])))
        assert repeated is not None
        assert claim == found[host] == next(it for it in repeated if it.device_id == row.id)
        return claim

    def state(self) -> tuple[str, str | None]:
        row = self.row()
        return row.state, row.reason_code

    def where(self, serial: str = "A") -> str | None:
        """The other host on which a stick is used."""
        device_id = self.row(serial).id
        return channels.server_hosts(self.db, [device_id]).get(device_id)

    def channel(self, serial: str = "A") -> models.Channel:
        with self.db.reader() as session:
            return channels.of(session, [self.row(serial).id])[self.row(serial).id]

    def pending(self, *, of_kinds: bool = False, down: Collection[str] = ()) -> list[tuple[str, str, bool]]:
        """Serial number of each stick that has to follow its server, where that is, and if it can."""
        found = self.moves(of_kinds=of_kinds, down=down)
        return [(move.claim.serial, move.server_host, move.reachable) for move in found]

    def moves(self, *, of_kinds: bool = False, down: Collection[str] = ()) -> Sequence[Move]:
        self.silence(*down)
        return channels.pending(self.db, window(), of_kinds=of_kinds)


def moved(*serials: str, kind: str | None = None, **more: Any) -> Hosts:
    """Server a has the sticks over the network, and has moved from the second host to the third."""
    hosts = Hosts(*serials, kind=kind)
    for serial in serials or ("A",):
        hosts.attach(serial, kind=kind, **more)
    hosts.sync(THERE)
    hosts.sync(THIRD, SERVER)
    return hosts
