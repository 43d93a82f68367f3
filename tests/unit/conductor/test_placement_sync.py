# SPDX-License-Identifier: Apache-2.0
"""When the conductor looks at Placement, and what it reads anew."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from keystoneauth1 import noauth
from oslo_utils import timeutils

from compute_shim import nova, placement
from compute_shim.conductor import metrics
from compute_shim.conductor.placement_sync import INTERVAL, PlacementSync
from compute_shim.db import intent, queries
from compute_shim.liveness import Window
from compute_shim.objects import Device, Server
from compute_shim.placement import Allocations
from tests.unit.conductor.cloud import Nudger
from tests.unit.conductor.test_offering import DONGLE, NODES, Placement
from tests.unit.db.test_states import STICK, empty_database

HERE, THERE = "compute1", "compute2"
_READ_AGAIN = 10


class AllocatingPlacement(Placement):
    """With allocations."""

    def __init__(self) -> None:
        super().__init__()
        self.allocated: dict[str, dict[str, dict[str, int]]] = {}
        # Is called when these are read.
        self.when_read: Callable[[], None] = lambda: None

    def allocations(self, uuid: str) -> Allocations:
        self._called("allocations", uuid)
        self.when_read()
        return dict(self.allocated.get(uuid, {}))

    def allocated_to(self, consumer: str) -> list[Mapping[str, int]]:
        self._called("allocated_to", consumer)
        return [consumers[consumer] for consumers in self.allocated.values() if consumer in consumers]


class Turn:
    """The lease of the leader."""

    def __init__(self) -> None:
        # So often it can still be had.
        self.left = 10**6

    def acquire(self) -> bool:
        self.left -= 1
        return self.left >= 0


class Conductor:
    def __init__(self) -> None:
        self.db = empty_database()
        self.placement = AllocatingPlacement()
        self.turn = Turn()
        self.clock = 0.0
        self.servers: dict[str, nova.Server] = {}
        self.nudger = Nudger()
        self.sync = PlacementSync(
            self.db,
            self.placement,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            noauth.NoAuth(),
            self.nudger,
            self.turn,  # type: ignore[arg-type]
            self._window,
            lambda: self.clock,
        )

    def _window(self) -> Window:
        now, minute = timeutils.utcnow(), datetime.timedelta(minutes=1)
        return Window(now - minute, now + minute)

    # Nova

    def compute_nodes(self, auth: Any) -> Mapping[str, str]:
        return NODES

    def server(self, auth: Any, server_id: str) -> nova.Server:
        if server_id not in self.servers:
            raise nova.no_server(server_id)
        return self.servers[server_id]

    # What there is

    def boot(self, name: str) -> None:
        self.servers[name] = nova.Server(name, "demo", nova.host_id("demo", HERE), False, False, "user")

    def plug(self, host: str, *serials: str) -> None:
        sticks = [
            Device(**{**vars(STICK), "identity": serial, "serial": serial, "kind": "dongle"})
            for serial in serials
        ]
        servers = {name: Server(True) for name in self.servers}
        queries.sync_host(self.db, host, "QEMU", "1.3", sticks, servers=servers)

    def allocate(self, server: str, number: int = 1, *, told: bool = True) -> None:
        """Nova allocates, or deletes an allocation, of which Placement's generation does not tell."""
        consumers = self.placement.allocated.setdefault(self.placement.provider(HERE).uuid, {})
        consumers[server] = {DONGLE: number}
        if not number:
            del consumers[server]
        if told:
            self.placement.change(HERE)

    def look(self, seconds: float = INTERVAL) -> list[str]:
        """A pass; the calls of Placement that it made."""
        self.placement.calls.clear()
        self.clock += seconds
        self.sync()
        return [call.partition(" ")[0] for call in self.placement.calls]

    def owners(self) -> list[str | None]:
        return [row.instance_uuid for row in queries.devices(self.db)]


def passes(outcome: str) -> float:
    return metrics.placement_passes.labels(outcome)._value.get()


@pytest.fixture
def conductor() -> Conductor:
    """Nothing is allocated, and all is as it has to be."""
    conductor = Conductor()
    conductor.boot("server")
    conductor.plug(HERE, "A", "B")
    conductor.look()
    conductor.look()
    return conductor


def test_at_rest_it_costs_one_call(conductor: Conductor) -> None:
    assert conductor.look() == ["providers"]


def test_who_does_not_lead_does_nothing(conductor: Conductor) -> None:
    conductor.turn.left = 0
    assert conductor.look() == []


def test_a_leader_that_is_none_any_more_stops(conductor: Conductor, caplog: pytest.LogCaptureFixture) -> None:
    """In the midst of a pass, before it writes."""
    conductor.plug(HERE, "A", "B", "C")
    conductor.turn.left = 1
    assert "set_inventories" not in conductor.look()
    assert "Another conductor does this now" in caplog.text
    conductor.turn.left = 10**6
    assert "set_inventories" in conductor.look()


def test_passes_are_counted(conductor: Conductor) -> None:
    done, failed = passes("done"), passes("failed")
    conductor.look()
    assert (passes("done"), passes("failed")) == (done + 1, failed)
    conductor.placement.errors.append(("providers", placement.Failure("away")))
    conductor.look()
    assert (passes("done"), passes("failed")) == (done + 1, failed + 1)


def test_it_asks_less_often_while_placement_is_away(
    conductor: Conductor, caplog: pytest.LogCaptureFixture
) -> None:
    away = ("providers", placement.Failure("away"))
    conductor.placement.errors += [away] * 2
    with caplog.at_level(logging.WARNING):
        assert conductor.look() == ["providers"]
    assert "Placement is not up to date: away" in caplog.text
    assert conductor.look(INTERVAL - 1) == []
    assert conductor.look(1) == ["providers"]
    assert conductor.look(2 * INTERVAL - 1) == []
    assert conductor.look(1) == ["providers"]
    # Once it is back, the next failure is the first one.
    conductor.placement.errors.append(away)
    assert conductor.look() == ["providers"]
    assert conductor.look(INTERVAL - 1) == []
    assert conductor.look(1) == ["providers"]


def test_an_allocation_is_read_when_the_generation_tells_of_it(conductor: Conductor) -> None:
    conductor.allocate("server")
    assert "allocations" in conductor.look()
    assert conductor.owners() == ["server", None]


def test_one_that_ends_is_found_though_nothing_tells_of_it(conductor: Conductor) -> None:
    conductor.allocate("server")
    conductor.look()
    conductor.look()
    conductor.allocate("server", 0, told=False)
    assert "allocations" not in conductor.look(0.1)
    assert conductor.owners() == ["server", None]
    assert "allocations" in conductor.look(8 * _READ_AGAIN)
    assert [row.state for row in queries.devices(conductor.db)] == ["detaching", "available"]


def test_it_is_looked_for_less_and_less_often(conductor: Conductor) -> None:
    conductor.allocate("server")
    calls = [call for _ in range(60) for call in conductor.look()]
    assert 4 <= calls.count("allocations") <= 10


def test_a_claim_that_has_changed_is_a_reason_to_read(conductor: Conductor) -> None:
    """It may have, because its allocation ended."""
    conductor.allocate("server")
    for _ in range(20):
        conductor.look()
    [device] = [row for row in queries.devices(conductor.db) if row.instance_uuid]
    conductor.look(0.1)
    assert intent.release(conductor.db, device.id, "server")
    assert "allocations" in conductor.look(0.1)


def test_a_provider_of_a_host_that_is_gone_is_removed(conductor: Conductor) -> None:
    conductor.plug(THERE)
    conductor.placement.create_provider("compute9_usb", "node9")
    conductor.placement.trait["uuid-of-compute9_usb"] = {placement.MARK}
    assert "delete_provider" in conductor.look()
    assert list(conductor.placement.there) == ["compute1_usb"]


def test_a_host_without_kinds_has_no_provider(conductor: Conductor) -> None:
    conductor.plug(THERE)
    conductor.look()
    assert list(conductor.placement.there) == ["compute1_usb"]


def test_devices_of_a_host_that_is_down_are_not_offered(conductor: Conductor) -> None:
    conductor.sync._window = lambda: Window(
        timeutils.utcnow() + datetime.timedelta(minutes=1), timeutils.utcnow() + datetime.timedelta(minutes=2)
    )
    conductor.look()
    assert conductor.placement.inventory["uuid-of-compute1_usb"] == {}
