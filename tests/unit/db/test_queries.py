# SPDX-License-Identifier: Apache-2.0
"""What programs read of hosts and devices, and what operators change."""

from __future__ import annotations

import dataclasses
import datetime

import pytest
import sqlalchemy as sa
from oslo_utils import timeutils

from compute_shim.db import history, host_list, intent, models, queries, syncs
from compute_shim.db.api import Database
from compute_shim.db.events import Actor
from compute_shim.objects import ClaimStatus, ReasonCode, State
from tests.unit.db.test_absence import window
from tests.unit.db.test_states import HOST, SERVERS, STICK, empty_database

OPERATOR = Actor("operator", "req-1", "admins")


@pytest.fixture
def db() -> Database:
    """A host with one stick."""
    db = empty_database()
    queries.sync_host(db, HOST, "QEMU", "1.3", [STICK])
    return db


def row_of(db: Database) -> models.Device:
    [row] = queries.devices(db)
    return row


def causes(db: Database) -> list[str | None]:
    return [event.cause_code for event in history.page(db, history.Filter())]


def test_hosts_are_listed_by_name() -> None:
    db = empty_database()
    for host in ("c", "a", "b"):
        queries.sync_host(db, host, "QEMU", "1.3", [])
    assert [host.host for host in queries.hosts(db)] == ["a", "b", "c"]


def test_each_problem_of_a_host_is_a_line() -> None:
    db = empty_database()
    queries.sync_host(db, HOST, "QEMU", "1.3", [], ["no udev", "no libvirt"])
    host = queries.host(db, HOST)
    assert host is not None
    assert host.problems == "no udev\nno libvirt"


def test_which_hosts_are_up() -> None:
    db = empty_database()
    for host in ("a", "b", "c"):
        queries.sync_host(db, host, "QEMU", "1.3", [])
    with db.writer() as session:
        past = timeutils.utcnow() - datetime.timedelta(seconds=61)
        session.execute(sa.update(models.Host).where(models.Host.host == "c").values(last_seen=past))
    assert queries.hosts_up(db, window()) == {"a", "b"}
    assert queries.hosts_up(db, window(), ["b", "c", "d"]) == {"b"}
    assert queries.hosts_up(db, window(), []) == set()


def test_a_repeated_sync_tells_of_one_host() -> None:
    """Though another one told the same."""
    db = empty_database()
    for host in (HOST, "compute2"):
        queries.sync_host(db, host, "QEMU", "1.3", [], digest="the same")
    silent = queries.host(db, "compute2")
    assert silent is not None
    assert syncs.unchanged(db, HOST, "the same", 0) == []
    after = queries.host(db, "compute2")
    assert after is not None
    assert after.last_seen == silent.last_seen
    assert syncs.unchanged(db, HOST, "another", 0) is None
    assert syncs.unchanged(db, "compute3", "the same", 0) is None


def test_which_hosts_are_down() -> None:
    """One that was heard of in the future was so before the clock was set back."""
    db = empty_database()
    for host, seconds in (("past", -61), ("now", 0), ("future", 61)):
        queries.sync_host(db, host, "QEMU", "1.3", [])
        seen = timeutils.utcnow() + datetime.timedelta(seconds=seconds)
        with db.writer() as session:
            session.execute(sa.update(models.Host).where(models.Host.host == host).values(last_seen=seen))
    assert set(host_list.down(db, window())) == {"past", "future"}
    assert queries.hosts_up(db, window()) == {"now"}


def test_devices_are_listed_in_the_order_in_which_they_came() -> None:
    """Those of one moment by their ids."""
    db = empty_database()
    sticks = [dataclasses.replace(STICK, identity=f"{number}") for number in range(4)]
    queries.sync_host(db, HOST, "QEMU", "1.3", sticks)
    first, second, *rest = sorted((row.id for row in queries.devices(db)), reverse=True)
    noon = datetime.datetime(2026, 1, 1, 12)
    with db.writer() as session:
        for device_id, minute in ((first, 0), (second, 1)):
            session.execute(
                sa.update(models.Device)
                .where(models.Device.id == device_id)
                .values(created_at=noon + datetime.timedelta(minutes=minute))
            )
        later = noon + datetime.timedelta(minutes=2)
        session.execute(sa.update(models.Device).where(models.Device.id.in_(rest)).values(created_at=later))
    assert [row.id for row in queries.devices(db)] == [first, second, *sorted(rest)]


def test_of_too_many_devices_none_is_forgotten_that_is_of_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that is plugged in, nor one that a server has, nor one that an operator has disabled."""
    db = empty_database()
    sticks = {
        name: dataclasses.replace(STICK, identity=name, serial=name)
        for name in ("plugged", "claimed", "disabled", "idle")
    }
    queries.sync_host(db, HOST, "QEMU", "1.3", sticks.values())
    rows = {row.serial: row.id for row in queries.devices(db)}
    assert intent.claim(db, rows["claimed"], SERVERS[0], "demo")
    queries.set_device(db, rows["disabled"], enabled=False)
    for most, left in ((4, set(rows)), (3, set(rows) - {"idle"}), (1, set(rows) - {"idle"})):
        monkeypatch.setattr(syncs, "_ROWS_PER_HOST", most)
        claims = queries.sync_host(db, HOST, "QEMU", "1.3", [sticks["plugged"]])
        assert {row.serial for row in queries.devices(db)} == left
        assert sorted(claim.serial for claim in claims) == sorted(left)


def test_what_an_operator_changes(db: Database) -> None:
    device_id = row_of(db).id
    row = queries.set_device(db, device_id, OPERATOR, description="rack 7", enabled=False)
    assert row is not None
    row = row_of(db)
    assert (row.description, row.enabled) == ("rack 7", False)
    assert (row.state, row.reason_code) == (State.UNAVAILABLE, ReasonCode.DISABLED)
    queries.set_device(db, device_id, OPERATOR, enabled=True)
    assert row_of(db).state == State.AVAILABLE
    assert causes(db) == ["enabled", "described", "disabled", "plugged_in"]


def test_what_is_checked_before_a_change_keeps_it_from_being_made(db: Database) -> None:
    def refuse(row: models.Device) -> None:
        raise PermissionError(row.id)

    device_id = row_of(db).id
    with pytest.raises(PermissionError, match=device_id):
        queries.set_device(db, device_id, OPERATOR, refuse, enabled=False)
    assert row_of(db).enabled
    assert queries.set_device(db, "missing", OPERATOR, refuse, enabled=False) is None


def test_a_device_is_forgotten_but_for_its_history(db: Database) -> None:
    device_id = row_of(db).id
    queries.sync_host(db, HOST, "QEMU", "1.3", [])
    assert queries.forget(db, device_id, OPERATOR)
    assert queries.devices(db) == []
    assert causes(db) == ["forgotten", "unplugged", "plugged_in"]
    event = history.page(db, history.Filter(device_id), limit=1)[0]
    assert (event.user_id, event.request_id, event.device_name) == ("operator", "req-1", STICK.name)
    assert not queries.forget(db, device_id, OPERATOR)


def test_a_claim_keeps_its_state_whatever_becomes_of_the_device(db: Database) -> None:
    """Its agent tells what that means for the claim."""
    device_id = row_of(db).id
    assert intent.claim(db, device_id, SERVERS[0], "demo")
    queries.record_statuses(db, HOST, [ClaimStatus(device_id, 1, State.ATTACHED)])
    queries.set_device(db, device_id, OPERATOR, enabled=False)
    for plugged in ([dataclasses.replace(STICK, port="2-7")], []):
        queries.sync_host(db, HOST, "QEMU", "1.3", plugged)
        assert (row_of(db).state, row_of(db).present) == (State.ATTACHED, bool(plugged))


@pytest.mark.parametrize("plugged", [True, False])
def test_a_device_that_a_server_has_is_not_forgotten(db: Database, plugged: bool) -> None:
    device_id = row_of(db).id
    assert intent.claim(db, device_id, SERVERS[0], "demo")
    queries.sync_host(db, HOST, "QEMU", "1.3", [STICK] if plugged else [])
    assert not queries.forget(db, device_id, OPERATOR)
    assert row_of(db).instance_uuid == SERVERS[0]


def test_the_outcomes_of_one_report_are_recorded_each_for_its_device() -> None:
    db = empty_database()
    sticks = [dataclasses.replace(STICK, identity=name) for name in ("A", "B", "C")]
    queries.sync_host(db, HOST, "QEMU", "1.3", sticks)
    rows = {row.identity: row.id for row in queries.devices(db)}
    for device_id in rows.values():
        assert intent.claim(db, device_id, SERVERS[0], "demo")
    outcomes = [
        ClaimStatus(rows["A"], 1, State.ATTACHED),
        ClaimStatus(rows["B"], 1, State.WAITING, None, ReasonCode.SERVER_OFF),
        ClaimStatus("missing", 1, State.FAILED, None, ReasonCode.HYPERVISOR_ERROR),
    ]
    queries.record_statuses(db, HOST, outcomes)
    assert {row.identity: row.state for row in queries.devices(db)} == {
        "A": State.ATTACHED,
        "B": State.WAITING,
        "C": State.ATTACHING,
    }


@pytest.mark.parametrize(
    ("code", "recorded"),
    [
        (None, None),
        (ReasonCode.RESET, ReasonCode.RESET),
        (ReasonCode.RESET_SKIPPED, ReasonCode.RESET_SKIPPED),
    ],
)
def test_what_became_of_the_reset_is_in_the_history(
    db: Database, code: ReasonCode | None, recorded: str | None
) -> None:
    device_id = row_of(db).id
    assert intent.claim(db, device_id, SERVERS[0], "demo")
    assert intent.release(db, device_id, SERVERS[0])
    queries.record_statuses(db, HOST, [ClaimStatus(device_id, 2, State.AVAILABLE, None, code)])
    event = history.page(db, history.Filter(device_id), limit=1)[0]
    assert (event.state, event.reason_code) == (State.AVAILABLE, recorded)
    assert row_of(db).reason_code is None
