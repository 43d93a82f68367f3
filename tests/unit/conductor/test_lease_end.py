# SPDX-License-Identifier: Apache-2.0
"""Leases of devices end once, on time, whatever clocks do."""

from __future__ import annotations

import dataclasses
import datetime

import pytest
import sqlalchemy as sa

from compute_shim.conductor.lease_end import LeaseEnd
from compute_shim.db import device_leases, history, intent, models, queries
from compute_shim.db.events import Actor
from compute_shim.db.leases import Lease
from compute_shim.objects import ReasonCode, State
from tests.unit.conductor.cloud import Nudger
from tests.unit.db.test_states import HOST, STICK, empty_database

SERVER = "server-1"
HOUR = 3600
ACTOR = Actor("user", "req", "demo")


class Leased:
    """A device that a server has for an hour, and two conductors."""

    def __init__(self) -> None:
        self.db = empty_database()
        queries.sync_host(self.db, HOST, "QEMU", "1.3", [dataclasses.replace(STICK, shared=True)])
        [row] = queries.devices(self.db)
        self.id = row.id
        assert intent.claim(self.db, self.id, SERVER, "demo", lease=HOUR)
        self.monotonic = 0.0
        self.nudger = Nudger()
        self.one, self.other = self.conductor("one"), self.conductor("other")

    def conductor(self, name: str) -> LeaseEnd:
        turn = Lease(self.db, "device-leases", name, 600)
        return LeaseEnd(self.db, self.nudger, turn, 300, lambda: self.monotonic)

    @property
    def row(self) -> models.Device:
        return queries.devices(self.db)[0]

    def left(self, seconds: float) -> None:
        """The lease ends so many seconds from now, as was said when it was given."""
        until = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(seconds=seconds)
        with self.db.writer() as session:
            session.execute(sa.update(models.Device).values(lease_until=until))

    def causes(self) -> list[str | None]:
        return [event.cause_code for event in history.page(self.db, history.Filter(self.id))]


@pytest.fixture
def leased() -> Leased:
    return Leased()


def test_a_lease_that_is_over(leased: Leased) -> None:
    leased.left(-1)
    leased.one()
    assert (leased.row.state, leased.row.instance_uuid) == (State.DETACHING, SERVER)
    # What the agent still says of the claim is of before.
    assert leased.row.generation == 2
    assert leased.causes()[0] == ReasonCode.LEASE_ENDED
    [event, *_] = history.page(leased.db, history.Filter(leased.id))
    assert leased.nudger.nudged == [(leased.id, {"request_id": event.request_id})]
    leased.one()
    assert len(leased.nudger.nudged) == 1


def test_a_lease_ends_at_its_last_moment(leased: Leased, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is warned of 300 seconds before that."""
    [lease] = device_leases.running(leased.db)
    an_hour = dataclasses.replace(lease, seconds_left=HOUR)
    monkeypatch.setattr(device_leases, "running", lambda db: [an_hour])
    leased.one()
    states, warned = [], []
    for leased.monotonic in (HOUR - 300.5, HOUR - 300.0, HOUR - 0.5, HOUR):
        leased.one()
        states.append(leased.row.state)
        warned.append(leased.row.lease_warned is not None)
    assert warned == [False, True, True, True]
    assert states == [State.ATTACHING] * 3 + [State.DETACHING]


def test_a_lease_that_is_not(leased: Leased) -> None:
    before = leased.causes()
    leased.one()
    assert leased.row.state == State.ATTACHING
    assert leased.causes() == before


def test_its_end_is_told_of_once(leased: Leased) -> None:
    leased.left(100)
    leased.one()
    leased.one()
    assert leased.causes().count(ReasonCode.LEASE_ENDING) == 1
    assert leased.row.state == State.ATTACHING


def test_and_again_when_it_was_extended(leased: Leased) -> None:
    leased.left(100)
    leased.one()
    assert device_leases.change(leased.db, leased.id, SERVER, 200, ACTOR)
    leased.one()
    assert leased.causes()[:3] == [
        ReasonCode.LEASE_ENDING,
        ReasonCode.LEASE_CHANGED,
        ReasonCode.LEASE_ENDING,
    ]


def test_one_that_was_extended_meanwhile_goes_on(leased: Leased) -> None:
    leased.left(-1)
    [old] = device_leases.running(leased.db)
    assert device_leases.change(leased.db, leased.id, SERVER, HOUR, ACTOR)
    assert not device_leases.end(leased.db, old, ACTOR)
    device_leases.warn(leased.db, old)
    assert (leased.row.state, leased.row.lease_warned) == (State.ATTACHING, None)
    assert leased.causes()[0] == ReasonCode.LEASE_CHANGED


def test_a_device_that_is_forgotten_has_no_lease(leased: Leased) -> None:
    [old] = device_leases.running(leased.db)
    with leased.db.writer() as session:
        session.execute(sa.delete(models.Device))
    assert not device_leases.end(leased.db, old, ACTOR)
    device_leases.warn(leased.db, old)
    assert not device_leases.change(leased.db, leased.id, SERVER, HOUR, ACTOR)


def test_only_the_lease_of_the_server_s_own_claim_is_changed(leased: Leased) -> None:
    before = leased.row.lease_until
    assert not device_leases.change(leased.db, leased.id, "server-2", 1, ACTOR)
    assert intent.release(leased.db, leased.id, SERVER)
    assert not device_leases.change(leased.db, leased.id, SERVER, 1, ACTOR)
    assert leased.row.lease_until == before


def test_the_history_tells_until_when_it_is(leased: Leased) -> None:
    """And nothing of a change that changes nothing."""
    for seconds in (None, None, HOUR):
        assert device_leases.change(leased.db, leased.id, SERVER, seconds, ACTOR)
    until = leased.row.lease_until
    assert until is not None
    events = history.page(leased.db, history.Filter(leased.id))
    changes = [it.state_reason for it in events if it.cause_code == ReasonCode.LEASE_CHANGED]
    assert changes == [f"until {until.isoformat(timespec='seconds')}Z", "without an end"]


def test_a_lease_without_an_end(leased: Leased) -> None:
    assert device_leases.change(leased.db, leased.id, SERVER, None, ACTOR)
    assert device_leases.running(leased.db) == []


@pytest.mark.parametrize("step", [-10 * HOUR, 10 * HOUR])
def test_a_step_of_the_database_s_clock(leased: Leased, step: float, monkeypatch: pytest.MonkeyPatch) -> None:
    leased.one()
    running = device_leases.running

    def stepped(db: object) -> list[device_leases.Running]:
        leases = running(leased.db)
        return [dataclasses.replace(it, seconds_left=it.seconds_left - step) for it in leases]

    monkeypatch.setattr(device_leases, "running", stepped)
    leased.monotonic += HOUR - 10
    leased.one()
    assert leased.row.state == State.ATTACHING
    leased.monotonic += 20
    leased.one()
    assert leased.row.state == State.DETACHING


def test_one_conductor_at_a_time(leased: Leased) -> None:
    leased.one()
    leased.left(-1)
    leased.other()
    assert leased.row.state == State.ATTACHING
    leased.one()
    assert leased.row.state == State.DETACHING


def test_a_conductor_that_takes_over_goes_on(leased: Leased) -> None:
    leased.one()
    leased.left(-1)
    with leased.db.writer() as session:
        session.execute(sa.delete(models.Lease))
    leased.other()
    assert leased.row.state == State.DETACHING


def test_what_was_claimed_anew_has_a_lease_of_its_own(leased: Leased) -> None:
    """The end of the one before does not end it."""
    leased.left(-1)
    [old] = device_leases.running(leased.db)
    assert device_leases.end(leased.db, old, Actor(None, "req"))
    assert not device_leases.end(leased.db, old, Actor(None, "req"))
    device_leases.warn(leased.db, old)
    assert ReasonCode.LEASE_ENDING not in leased.causes()
