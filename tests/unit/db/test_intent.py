# SPDX-License-Identifier: Apache-2.0
"""Claims: what may be taken, what stays of the claim before, and which device replaces another."""

from __future__ import annotations

import dataclasses

import pytest

from compute_shim.db import history, intent, models, queries
from compute_shim.db.api import Database
from compute_shim.db.events import Actor
from compute_shim.objects import ClaimStatus, Device, ReasonCode, State
from tests.unit.db.test_states import HOST, SERVERS, STICK, empty_database

NEW_HOST = "compute2"
SERVER = SERVERS[0]
DONGLE = dataclasses.replace(STICK, kind="dongle", handover="hold")


def dongle(serial: str, **changes: object) -> Device:
    found = dataclasses.replace(DONGLE, identity=serial, serial=serial)
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type]


def row_of(db: Database, serial: str) -> models.Device:
    [row] = queries.devices(db, models.Device.serial == serial)
    return row


def moved(*there: Device) -> Database:
    """A server has dongle A; it has moved to a host with other devices."""
    db = empty_database()
    queries.sync_host(db, HOST, "QEMU", "1.3", [dongle("A")])
    for count in range(1, len(there) + 1):  # they are plugged in one after the other
        queries.sync_host(db, NEW_HOST, "QEMU", "1.3", there[:count])
    actor = Actor("user", "req-1", "demo")
    assert intent.claim(db, row_of(db, "A").id, SERVER, "demo", actor, kind="dongle", lease=3600)
    return db


def test_a_replacement_is_had_as_the_first_was() -> None:
    db = moved(dongle("B"))
    before = row_of(db, "A")
    assert intent.replace(db, before, NEW_HOST) == row_of(db, "B").id
    old, new = row_of(db, "A"), row_of(db, "B")
    assert (old.state, old.instance_uuid, old.generation) == (State.DETACHING, SERVER, 2)
    assert (new.state, new.instance_uuid, new.generation) == (State.ATTACHING, SERVER, 1)
    for name in ("project_id", "user_id", "claimed_kind", "lease_until", "lease_warned"):
        assert getattr(new, name) == getattr(before, name), name
    assert before.lease_until is not None
    for row in (old, new):
        event = history.page(db, history.Filter(row.id))[0]
        assert (event.cause_code, event.instance_uuid) == (ReasonCode.SERVER_MOVED, SERVER)


def test_the_first_that_is_free_replaces_it() -> None:
    db = moved(dongle("B"), dongle("C"), dongle("D"))
    assert intent.claim(db, row_of(db, "B").id, SERVERS[1], "other")
    assert intent.replace(db, row_of(db, "A"), NEW_HOST) == row_of(db, "C").id
    assert row_of(db, "D").state == State.AVAILABLE


@pytest.mark.parametrize(
    "change",
    [{"kind": "disk"}, {"shared": False}, {"blocked_code": "host_mount", "blocked_reason": "mounted"}, {}],
    ids=["of another kind", "not shared", "used by the host", "held for another project"],
)
def test_a_device_that_the_project_cannot_have_replaces_nothing(change: dict[str, object]) -> None:
    db = moved(dongle("B", **change))
    if not change:
        row = row_of(db, "B")
        assert intent.claim(db, row.id, SERVERS[1], "other")
        queries.record_statuses(db, NEW_HOST, [ClaimStatus(row.id, 1, State.ATTACHED)])
        assert intent.release(db, row.id, SERVERS[1])
        queries.record_statuses(db, NEW_HOST, [ClaimStatus(row.id, 2, State.AVAILABLE)])
    assert intent.replace(db, row_of(db, "A"), NEW_HOST) is None
    assert (row_of(db, "A").state, row_of(db, "A").generation) == (State.ATTACHING, 1)
    assert row_of(db, "B").instance_uuid is None


def test_a_device_that_is_held_for_the_project_itself_may_replace_another() -> None:
    db = moved(dongle("B"))
    row = row_of(db, "B")
    assert intent.claim(db, row.id, SERVERS[1], "demo")
    queries.record_statuses(db, NEW_HOST, [ClaimStatus(row.id, 1, State.ATTACHED)])
    assert intent.release(db, row.id, SERVERS[1])
    queries.record_statuses(db, NEW_HOST, [ClaimStatus(row.id, 2, State.AVAILABLE)])
    assert intent.replace(db, row_of(db, "A"), NEW_HOST) == row.id


def test_a_device_of_another_host_replaces_nothing() -> None:
    db = moved(dongle("B"))
    assert intent.replace(db, row_of(db, "A"), "compute3") is None


@pytest.mark.parametrize("news", ["given back", "claimed anew", "forgotten"])
def test_a_claim_that_has_changed_is_not_replaced(news: str) -> None:
    db = moved(dongle("B"))
    claim = row_of(db, "A")
    intent.release(db, claim.id, SERVER)
    if news != "given back":
        queries.record_statuses(db, HOST, [ClaimStatus(claim.id, 2, State.AVAILABLE)])
    if news == "claimed anew":
        assert intent.claim(db, claim.id, SERVER, "demo", kind="dongle")
    if news == "forgotten":
        queries.sync_host(db, HOST, "QEMU", "1.3", [])
        assert queries.forget(db, claim.id)
    assert intent.replace(db, claim, NEW_HOST) is None
    assert row_of(db, "B").instance_uuid is None


def test_a_claim_that_is_being_given_back_is_not_replaced() -> None:
    """Even by who knows the latest of it."""
    db = moved(dongle("B"))
    intent.release(db, row_of(db, "A").id, SERVER)
    assert intent.replace(db, row_of(db, "A"), NEW_HOST) is None


def test_a_device_that_is_not_shared_is_for_who_may_have_all() -> None:
    db = empty_database()
    queries.sync_host(db, HOST, "QEMU", "1.3", [dongle("A", shared=False, projects=("friend",))])
    device_id = row_of(db, "A").id
    assert not intent.claim(db, device_id, SERVER, "demo")
    assert not intent.claim(db, device_id, SERVER, "demo", kind="disk", unshared=True)
    assert intent.claim(db, device_id, SERVER, "demo", kind="dongle", unshared=True)
    assert intent.release(db, device_id, SERVER)
    queries.record_statuses(db, HOST, [ClaimStatus(device_id, 2, State.AVAILABLE)])
    assert intent.claim(db, device_id, SERVERS[1], "friend")


def test_a_change_that_is_not_made_is_no_event() -> None:
    db = moved()
    row = row_of(db, "A")
    before = len(history.page(db, history.Filter()))
    assert not intent.claim(db, row.id, SERVERS[1], "demo")
    assert not intent.retry(db, row.id, SERVER)
    assert not intent.release(db, row.id, SERVERS[1])
    assert not intent.claim(db, "missing", SERVER, "demo")
    assert len(history.page(db, history.Filter())) == before


def test_nothing_is_left_of_the_claim_before() -> None:
    db = moved()
    row = row_of(db, "A")
    failed = ClaimStatus(row.id, 1, State.FAILED, "no", ReasonCode.HYPERVISOR_ERROR)
    queries.record_statuses(db, HOST, [failed])
    since = row_of(db, "A").state_since
    assert intent.retry(db, row.id, SERVER)
    row = row_of(db, "A")
    assert (row.state, row.generation, row.reason_code, row.state_reason) == (State.ATTACHING, 2, None, None)
    assert row.state_since is not None
    assert since is not None
    assert row.state_since > since
    assert intent.release(db, row.id, SERVER)
    queries.record_statuses(db, HOST, [ClaimStatus(row.id, 3, State.AVAILABLE)])
    row = row_of(db, "A")
    for name in ("instance_uuid", "project_id", "user_id", "claimed_kind", "lease_until", "lease_warned"):
        assert getattr(row, name) is None, name


def test_where_the_server_of_a_claim_is_instead() -> None:
    db = moved()
    claim = row_of(db, "A")
    intent.wait_for_server(db, claim, ReasonCode.SERVER_SHELVED)
    row = row_of(db, "A")
    assert (row.state, row.reason_code, row.generation) == (State.WAITING, ReasonCode.SERVER_SHELVED, 1)
    event = history.page(db, history.Filter(row.id))[0]
    assert (event.state, event.reason_code) == (State.WAITING, ReasonCode.SERVER_SHELVED)


def test_where_the_server_of_a_forgotten_device_is() -> None:
    db = moved()
    claim = row_of(db, "A")
    intent.release(db, claim.id, SERVER)
    queries.record_statuses(db, HOST, [ClaimStatus(claim.id, 2, State.AVAILABLE)])
    queries.sync_host(db, HOST, "QEMU", "1.3", [])
    assert queries.forget(db, claim.id)
    intent.wait_for_server(db, claim, ReasonCode.SERVER_SHELVED)
    assert queries.devices(db) == []


def test_what_an_agent_is_told_of_a_claim() -> None:
    db = moved(dongle("B"))
    for serial, host, server_id in (("A", HOST, SERVER), ("B", NEW_HOST, None)):
        [found] = intent.claims_for_agents(db, row_of(db, serial).id)
        assert found is not None
        assert (found[0], found[1], found[2].server_id) == (host, "1.3", server_id)
    assert intent.claims_for_agents(db, "missing") == []
    with db.writer() as session:
        session.delete(session.get_one(models.Host, HOST))
    [found] = intent.claims_for_agents(db, row_of(db, "A").id)
    assert found is not None
    assert (found[0], found[1]) == (HOST, "")
