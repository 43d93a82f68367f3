# SPDX-License-Identifier: Apache-2.0
"""What goes with a host that is deleted, and what stays (see tests/functional/test_removal.py)."""

from __future__ import annotations

import dataclasses

import pytest
import sqlalchemy as sa

from compute_shim.db import history, intent, models, queries, removal, sharing, states
from compute_shim.db.api import Database
from compute_shim.db.events import Actor
from compute_shim.objects import ClaimStatus, ReasonCode, Server, State
from tests.unit.db.test_absence import window
from tests.unit.db.test_states import HOST, SERVERS, STICK, empty_database

ELSEWHERE = "compute2"
ACTOR = Actor("operator", "req-1", "admins")
DOWN = window(-60)


@pytest.fixture
def db() -> Database:
    """Two hosts, each with two sticks of one serial number, of which a server has the first."""
    db = empty_database()
    for host, server_id in ((HOST, SERVERS[0]), (ELSEWHERE, SERVERS[1])):
        sticks = [
            dataclasses.replace(STICK, identity=f"{host}-{number}", shared=True, projects=("p",))
            for number in (1, 2)
        ]
        queries.sync_host(db, host, "QEMU", "1.3", sticks, servers={server_id: Server(True)})
        assert intent.claim(db, first(db, host).id, server_id, "demo", Actor("user", "req-0"))
        queries.record_statuses(db, host, [ClaimStatus(first(db, host).id, 1, State.ATTACHED)])
    return db


def first(db: Database, host: str) -> models.Device:
    [row] = queries.devices(db, models.Device.identity == f"{host}-1")
    return row


def hosts_in(
    db: Database, model: type[models.Host | models.Device | models.Instance | models.SharedSerial]
) -> set[str]:
    with db.reader() as session:
        return set(session.scalars(sa.select(model.host)))


def test_a_host_is_deleted_with_all_that_is_there_and_nothing_else(db: Database) -> None:
    others = queries.devices(db, models.Device.host == ELSEWHERE)
    assert removal.delete_host(db, HOST, DOWN, ACTOR)
    for model in (models.Host, models.Device, models.Instance, models.SharedSerial):
        assert hosts_in(db, model) == {ELSEWHERE}
    with db.reader() as session:
        assert set(session.scalars(sa.select(models.DeviceProject.device_id))) == {row.id for row in others}
    assert sharing.projects(db, others) == {row.id: ["p"] for row in others}
    assert (first(db, ELSEWHERE).state, first(db, ELSEWHERE).generation) == (State.ATTACHED, 1)


def test_the_history_says_who_deleted_a_host_and_who_had_what(db: Database) -> None:
    claimed, free = queries.devices(db, models.Device.host == HOST)
    removal.delete_host(db, HOST, DOWN, ACTOR)
    of_host, *found = history.page(db, history.Filter(), limit=3)
    assert (of_host.host, of_host.device_id) == (HOST, "")
    events = {event.device_id: event for event in found}
    assert (events[claimed.id].instance_uuid, events[claimed.id].project_id) == (SERVERS[0], "demo")
    assert (events[free.id].instance_uuid, events[free.id].project_id) == (None, None)
    for event in (of_host, *found):
        assert (event.cause_code, event.user_id, event.request_id, event.actor_project_id) == (
            ReasonCode.HOST_DELETED,
            "operator",
            "req-1",
            "admins",
        )
    assert {(event.state, event.reason_code) for event in found} == {
        (State.UNAVAILABLE, ReasonCode.UNPLUGGED)
    }


def test_the_history_tells_also_of_a_device_that_was_unplugged(db: Database) -> None:
    _, absent = queries.devices(db, models.Device.host == HOST)
    queries.sync_host(db, HOST, "QEMU", "1.3", [])
    removal.delete_host(db, HOST, DOWN, ACTOR)
    assert history.page(db, history.Filter(absent.id), limit=1)[0].cause_code == ReasonCode.HOST_DELETED


def test_a_host_that_is_up_is_not_deleted(db: Database) -> None:
    with pytest.raises(removal.HostUp):
        removal.delete_host(db, HOST, window(), ACTOR)
    assert hosts_in(db, models.Device) == {HOST, ELSEWHERE}


def test_a_host_that_there_is_not(db: Database) -> None:
    events = len(history.page(db, history.Filter()))
    assert not removal.delete_host(db, "compute3", DOWN, ACTOR)
    assert len(history.page(db, history.Filter())) == events


def test_a_host_of_which_only_a_part_is_left(db: Database) -> None:
    """Somebody has deleted rows by hand."""
    with db.writer() as session:
        session.execute(sa.delete(models.Host).where(models.Host.host == HOST))
        session.execute(sa.delete(models.Device).where(models.Device.host == ELSEWHERE))
    assert removal.delete_host(db, HOST, window(), ACTOR)
    assert removal.delete_host(db, ELSEWHERE, DOWN, ACTOR)
    assert hosts_in(db, models.Device) == set()


def test_a_claim_is_released(db: Database) -> None:
    before = first(db, HOST)
    row = removal.release(db, before.id, DOWN, ACTOR)
    assert row is not None
    assert (row.state, row.instance_uuid, row.project_id, row.generation) == (State.AVAILABLE, None, None, 2)
    assert states.claim_of(row).server_id is None
    event = history.page(db, history.Filter(row.id), limit=1)[0]
    assert (event.cause_code, event.user_id) == (ReasonCode.RELEASED, "operator")
    assert (event.instance_uuid, event.project_id) == (SERVERS[0], "demo")
    with pytest.raises(removal.NotClaimed):
        removal.release(db, before.id, DOWN, ACTOR)
    assert first(db, HOST).generation == 2


def test_a_claim_on_a_host_that_is_up_is_not_released_by_hand(db: Database) -> None:
    with pytest.raises(removal.HostUp):
        removal.release(db, first(db, HOST).id, window(), ACTOR)
    assert first(db, HOST).state == State.ATTACHED


def test_of_a_device_that_there_is_not_nothing_is_released(db: Database) -> None:
    assert removal.release(db, "missing", DOWN, ACTOR) is None
