# SPDX-License-Identifier: Apache-2.0
"""Each lock and each compare-and-swap, where two transactions meet.

The first transaction is held up in its middle, the second goes as far as it can. Each test fails without the
lock or the condition that it is about.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from compute_shim.db import (
    absence,
    allocations,
    channels,
    device_leases,
    handover,
    history,
    intent,
    models,
    queries,
    queue,
    removal,
    sharing,
)
from compute_shim.db.events import Actor
from compute_shim.liveness import Window
from compute_shim.objects import ClaimStatus, ReasonCode, State
from tests.functional.databases import MariaDB, PostgreSQL
from tests.functional.interleaving import Met, meet
from tests.functional.world import DEMO_PROJECT, SERVERS, World

HOST = "compute1"
SERVER = SERVERS["DEMO"].id
OTHER_SERVER = SERVERS["DEMO2"].id

READ_DEVICES = r"SELECT .*FROM host_usb_devices"
WRITE_DEVICE = r"UPDATE host_usb_devices"
RECORD_EVENT = r"INSERT INTO usb_device_events"

NOBODY = Actor(None, "req-1")


class Contest:
    """One stick on one host, which two want to change at once.

    :param server: on which the database is; None where nobody meets.
    """

    def __init__(self, world: World, server: MariaDB | PostgreSQL | None = None) -> None:
        self._server = server
        self.world = world
        self.db = world.db
        world.sync(STICK1={})
        self.id = world.device_id("STICK1")

    def meet(self, first: Callable[[], Any], statement: str, second: Callable[[], Any]) -> Met:
        assert self._server is not None
        return meet(self._server, self.db.engine(), first, statement, second)

    @property
    def row(self) -> models.Device:
        row = queries.device(self.db, self.id)
        assert row is not None
        return row

    def claim(self, server_id: str = SERVER) -> bool:
        return intent.claim(self.db, self.id, server_id, DEMO_PROJECT)

    def give_up(self) -> bool:
        return intent.release(self.db, self.id, SERVER)

    def report(self, state: State, generation: int = 1) -> None:
        why = ReasonCode.HYPERVISOR_ERROR if state == State.FAILED else None
        outcome = ClaimStatus(self.id, generation, state, why and "no", why)
        queries.record_statuses(self.db, HOST, [outcome])


@pytest.fixture(params=["mariadb", "postgresql"])
def contest(request: pytest.FixtureRequest, tmp_path: Path) -> Contest:
    """A stick that is free, on a database that can do two things at once."""
    server = request.getfixturevalue(request.param)
    return Contest(World(server.create_database(), tmp_path), server)


def test_two_syncs_of_one_host_come_one_after_the_other(contest: Contest) -> None:
    world = contest.world
    met = contest.meet(
        lambda: world.sync(STICK1={}, STICK2={}), READ_DEVICES, lambda: world.sync(STICK1={"port": "2-7"})
    )
    assert met.waited
    assert len(met.second) == 2
    assert {row.identity[-6:]: row.present for row in queries.devices(contest.db)} == {
        "STICK1": True,
        "STICK2": False,
    }
    assert contest.row.port == "2-7"


def test_a_repeated_sync_is_none_while_another_is_recorded(contest: Contest) -> None:
    """It says what the last sync said, until the one commits that is on its way."""
    world = contest.world
    met = contest.meet(world.sync, READ_DEVICES, lambda: world.sync(STICK1={}))
    assert met.waited
    assert contest.row.present
    assert met.second[0]["state"] == State.AVAILABLE


def test_a_report_waits_for_a_sync_before_it_locks_a_device(contest: Contest) -> None:
    """Else each could have a device that the other wants next."""
    contest.claim()
    met = contest.meet(
        lambda: contest.world.sync(STICK1={"port": "2-7"}),
        READ_DEVICES,
        lambda: contest.report(State.ATTACHED),
    )
    assert met.waited
    assert (contest.row.state, contest.row.port) == (State.ATTACHED, "2-7")


def test_a_device_is_not_claimed_while_it_is_unplugged(contest: Contest) -> None:
    met = contest.meet(contest.world.sync, WRITE_DEVICE, contest.claim)
    assert met.second is False
    assert (contest.row.state, contest.row.instance_uuid) == (State.UNAVAILABLE, None)


def test_a_device_is_claimed_before_it_is_unplugged(contest: Contest) -> None:
    met = contest.meet(contest.claim, RECORD_EVENT, contest.world.sync)
    assert met.waited
    assert (contest.row.state, contest.row.instance_uuid) == (State.ATTACHING, SERVER)
    assert not contest.row.present


def test_a_report_does_not_overwrite_a_detach(contest: Contest) -> None:
    contest.claim()
    met = contest.meet(lambda: contest.report(State.ATTACHED), WRITE_DEVICE, contest.give_up)
    assert met.second is True
    assert (contest.row.state, contest.row.generation) == (State.DETACHING, 2)


def test_a_detach_makes_a_report_void(contest: Contest) -> None:
    contest.claim()
    met = contest.meet(contest.give_up, RECORD_EVENT, lambda: contest.report(State.ATTACHED))
    assert met.waited
    assert (contest.row.state, contest.row.generation) == (State.DETACHING, 2)


def test_a_device_is_not_claimed_while_it_is_disabled(contest: Contest) -> None:
    met = contest.meet(
        lambda: queries.set_device(contest.db, contest.id, enabled=False), WRITE_DEVICE, contest.claim
    )
    assert met.second is False
    assert (contest.row.state, contest.row.instance_uuid) == (State.UNAVAILABLE, None)


def test_where_a_server_is_does_not_overwrite_a_report(contest: Contest) -> None:
    contest.claim()
    claim = contest.row
    contest.meet(
        lambda: intent.wait_for_server(contest.db, claim, ReasonCode.SERVER_SHELVED),
        WRITE_DEVICE,
        lambda: contest.report(State.ATTACHED),
    )
    assert (contest.row.state, contest.row.state_reason) == (State.ATTACHED, None)


def test_a_report_is_not_overwritten_by_where_the_server_was(contest: Contest) -> None:
    contest.claim()
    claim = contest.row
    met = contest.meet(
        lambda: contest.report(State.ATTACHED),
        WRITE_DEVICE,
        lambda: intent.wait_for_server(contest.db, claim, ReasonCode.SERVER_SHELVED),
    )
    assert met.waited
    assert contest.row.state == State.ATTACHED


def test_what_is_attached_meanwhile_is_not_released(contest: Contest) -> None:
    contest.claim()
    claim, up = contest.row, Window.now(contest.world.conf)
    met = contest.meet(
        lambda: contest.report(State.ATTACHED),
        WRITE_DEVICE,
        lambda: absence.release(contest.db, claim, up, NOBODY),
    )
    assert (met.second, met.waited) == (False, True)
    assert contest.row.state == State.ATTACHED


def test_what_is_given_back_meanwhile_is_not_replaced(contest: Contest) -> None:
    contest.world.sync(STICK1={"kind": "dongle"})
    contest.world.sync("compute2", STICK4={"kind": "dongle"})
    assert intent.claim(contest.db, contest.id, SERVER, DEMO_PROJECT, kind="dongle")
    claim = contest.row
    met = contest.meet(contest.give_up, RECORD_EVENT, lambda: intent.replace(contest.db, claim, "compute2"))
    assert (met.second, met.waited) == (None, True)
    assert [row.state for row in queries.devices(contest.db, models.Device.host == "compute2")] == [
        State.AVAILABLE
    ]


def test_what_is_given_back_meanwhile_follows_no_server(contest: Contest) -> None:
    contest.world.relays = {HOST, "compute2"}
    contest.world.sync(STICK1={"over_network": True})
    contest.world.sync("compute2")
    assert intent.claim(contest.db, contest.id, SERVER, DEMO_PROJECT, transport="any")
    claim = contest.row
    met = contest.meet(contest.give_up, RECORD_EVENT, lambda: channels.follow(contest.db, claim, "compute2"))
    assert (met.second, met.waited) == (False, True)
    assert contest.row.state == State.DETACHING
    assert channels.server_hosts(contest.db, [contest.id]) == {}


def test_what_is_given_back_meanwhile_gets_no_other_transport(contest: Contest) -> None:
    contest.claim()
    met = contest.meet(
        contest.give_up,
        RECORD_EVENT,
        lambda: intent.change_transport(contest.db, contest.id, SERVER, "any"),
    )
    assert met.waited
    assert (contest.row.state, contest.row.claimed_transport) == (State.DETACHING, None)


def allocate(contest: Contest) -> str | None:
    """The server has one of a kind by its allocation, if it has none yet."""
    return allocations.claim(contest.db, SERVERS["DEMO"], HOST, ["dongle"], 1, NOBODY)


def test_one_of_two_conductors_fulfils_an_allocation(contest: Contest) -> None:
    contest.world.sync(STICK1={"kind": "dongle"}, STICK2={"kind": "dongle"})
    met = contest.meet(lambda: allocate(contest), RECORD_EVENT, lambda: allocate(contest))
    assert (met.first is None, met.second, met.waited) == (False, None, True)
    assert [row.instance_uuid for row in queries.devices(contest.db)].count(SERVER) == 1


def test_an_allocation_gets_another_device_if_the_first_is_taken_meanwhile(contest: Contest) -> None:
    contest.world.sync(STICK1={"kind": "dongle"}, STICK2={"kind": "dongle"})
    rows = queries.devices(contest.db)
    first, other = sorted(rows, key=lambda row: (row.created_at, row.id))
    met = contest.meet(
        lambda: allocate(contest),
        WRITE_DEVICE,
        lambda: intent.claim(contest.db, first.id, OTHER_SERVER, DEMO_PROJECT),
    )
    assert met == Met(other.id, True, waited=False)
    assert {row.instance_uuid for row in queries.devices(contest.db)} == {SERVER, OTHER_SERVER}


def test_what_is_given_back_meanwhile_is_not_released_once_more(contest: Contest) -> None:
    """Its allocation has ended, and an administrator has detached it."""
    contest.world.sync(STICK1={"kind": "dongle"})
    assert allocate(contest) == contest.id
    claim = contest.row
    met = contest.meet(contest.give_up, RECORD_EVENT, lambda: allocations.release(contest.db, claim))
    assert (met.second, met.waited) == (False, True)
    assert contest.row.generation == 2


def test_what_its_project_takes_again_meanwhile_is_not_released(contest: Contest) -> None:
    """A device that is held for others."""
    contest.world.sync(STICK1={"handover": "hold"})
    contest.claim()
    contest.report(State.ATTACHED)
    contest.give_up()
    contest.report(State.AVAILABLE, generation=2)
    met = contest.meet(contest.claim, RECORD_EVENT, lambda: handover.release(contest.db, contest.id))
    assert (met.second, met.waited) == (None, True)
    assert (contest.row.generation, contest.row.last_project_id) == (3, DEMO_PROJECT)


def test_a_lease_that_is_extended_meanwhile_is_not_ended(contest: Contest) -> None:
    assert intent.claim(contest.db, contest.id, SERVER, DEMO_PROJECT, lease=60)
    [lease] = device_leases.running(contest.db)
    met = contest.meet(
        lambda: device_leases.change(contest.db, contest.id, SERVER, 3600, NOBODY),
        RECORD_EVENT,
        lambda: device_leases.end(contest.db, lease, NOBODY),
    )
    assert (met.second, met.waited) == (False, True)
    assert contest.row.state == State.ATTACHING


def test_what_is_given_back_meanwhile_has_no_lease_to_change(contest: Contest) -> None:
    assert intent.claim(contest.db, contest.id, SERVER, DEMO_PROJECT, lease=60)
    met = contest.meet(
        contest.give_up,
        RECORD_EVENT,
        lambda: device_leases.change(contest.db, contest.id, SERVER, 3600, NOBODY),
    )
    assert (met.second, met.waited) == (False, True)


def test_two_operators_share_a_device_one_after_the_other(contest: Contest) -> None:
    """So the history says with whom it is shared after the second."""
    contest.world.sync(STICK1={"shared": False})
    met = contest.meet(
        lambda: sharing.add_project(contest.db, contest.id, "a"),
        RECORD_EVENT,
        lambda: sharing.add_project(contest.db, contest.id, "b"),
    )
    assert met.waited
    texts = [event.state_reason for event in history.page(contest.db, history.Filter(contest.id), limit=2)]
    assert texts == ["shared with a, b", "shared with a"]


def test_a_host_that_comes_back_meanwhile_is_not_deleted(contest: Contest) -> None:
    contest.world.silence(HOST)
    up = Window.now(contest.world.conf)

    def delete() -> bool | None:
        try:
            return removal.delete_host(contest.db, HOST, up)
        except removal.HostUp:
            return None

    met = contest.meet(lambda: contest.world.sync(STICK1={"port": "2-7"}), READ_DEVICES, delete)
    assert (met.second, met.waited) == (None, True)
    assert contest.row.port == "2-7"


def test_a_device_that_is_deleted_by_hand_meanwhile_is_not_released(contest: Contest) -> None:
    contest.claim()
    contest.world.silence(HOST)
    up = Window.now(contest.world.conf)

    def delete() -> None:
        with contest.db.engine().begin() as connection:
            connection.execute(sa.delete(models.Device))

    met = contest.meet(
        lambda: removal.release(contest.db, contest.id, up), f"{READ_DEVICES}.*FOR UPDATE", delete
    )
    assert met.first is None


def test_a_device_is_not_claimed_while_its_host_is_deleted(contest: Contest) -> None:
    contest.world.silence(HOST)
    up = Window.now(contest.world.conf)
    met = contest.meet(lambda: removal.delete_host(contest.db, HOST, up), WRITE_DEVICE, contest.claim)
    assert met == Met(True, False, waited=True)
    assert queries.devices(contest.db) == []


def test_a_place_in_line_is_left_once(contest: Contest) -> None:
    entry = queue.join(contest.db, SERVER, DEMO_PROJECT, NOBODY, contest.id)

    def leave() -> bool:
        return queue.leave(contest.db, SERVER, entry.entry_id)

    assert contest.meet(leave, RECORD_EVENT, leave) == Met(True, False, waited=True)


def test_two_places_of_a_project_are_of_two_rounds(contest: Contest) -> None:
    """Also the first two of all."""

    def join(server_id: str) -> int:
        return queue.join(contest.db, server_id, DEMO_PROJECT, NOBODY, contest.id).round

    met = contest.meet(lambda: join(SERVER), RECORD_EVENT, lambda: join(OTHER_SERVER))
    assert met == Met(0, 1, waited=True)


def test_where_a_server_was_says_nothing_of_a_later_claim(world: World) -> None:
    """Not even where that looks the same."""
    contest = Contest(world)
    contest.claim()
    claim = contest.row
    contest.give_up()
    contest.report(State.AVAILABLE, generation=2)
    contest.claim()
    intent.wait_for_server(contest.db, claim, ReasonCode.SERVER_SHELVED)
    assert (contest.row.state, contest.row.generation) == (State.ATTACHING, 3)


def test_a_device_is_not_forgotten_while_it_is_plugged_in(contest: Contest) -> None:
    contest.world.sync()
    met = contest.meet(
        lambda: contest.world.sync(STICK1={}),
        WRITE_DEVICE,
        lambda: queries.forget(contest.db, contest.id),
    )
    assert met.second is False
    assert (contest.row.state, contest.row.present) == (State.AVAILABLE, True)


def test_one_of_two_claims_is_the_first(contest: Contest) -> None:
    met = contest.meet(contest.claim, RECORD_EVENT, lambda: contest.claim(OTHER_SERVER))
    assert met == Met(True, False, waited=True)
    assert (contest.row.instance_uuid, contest.row.generation) == (SERVER, 1)


# A device that a claim of the demo server on it failed for, and what is different of it.
_FREE: dict[str, Any] = {"instance_uuid": None, "project_id": None, "state": State.AVAILABLE}
_FAILED: dict[str, Any] = {"instance_uuid": SERVER, "project_id": DEMO_PROJECT, "state": State.FAILED}
_GONE: dict[str, Any] = {**_FREE, "state": State.UNAVAILABLE, "present": False}

Change = Callable[[Contest], Any]
CHANGES: dict[str, tuple[Change, dict[str, Any]]] = {
    "claim": (Contest.claim, _FREE),
    "retry": (lambda it: intent.retry(it.db, it.id, SERVER), _FAILED),
    "give up": (Contest.give_up, _FAILED),
    "forget": (lambda it: queries.forget(it.db, it.id), _GONE),
}


@pytest.mark.parametrize(
    ("name", "different"),
    [
        ("claim", {"instance_uuid": OTHER_SERVER}),
        ("claim", {"state": State.UNAVAILABLE}),
        ("claim", {"present": False}),
        ("claim", {"enabled": False}),
        ("retry", {"instance_uuid": OTHER_SERVER}),
        ("retry", {"state": State.ATTACHED}),
        ("retry", {"state": State.DETACHING}),
        ("give up", {"instance_uuid": OTHER_SERVER}),
        ("give up", {"state": State.DETACHING}),
        ("forget", {"present": True}),
        ("forget", {"instance_uuid": SERVER}),
    ],
    ids=lambda it: it if isinstance(it, str) else " ".join(f"{name}={value}" for name, value in it.items()),
)
def test_every_condition_of_a_change_counts(world: World, name: str, different: dict[str, Any]) -> None:
    """Each by itself, whatever the others say: rows may be written by programs of other versions."""
    contest = Contest(world)
    change, before = CHANGES[name]

    def prepare(values: dict[str, Any]) -> None:
        with world.db.engine().begin() as connection:
            connection.execute(sa.update(models.Device).values(**values))

    prepare(before | different)
    assert change(contest) is False
    prepare(before)
    restored = {key: value for key, value in {"present": True, "enabled": True}.items() if key in different}
    prepare(restored | before)
    assert change(contest) is True
