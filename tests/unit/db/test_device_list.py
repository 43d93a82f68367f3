# SPDX-License-Identifier: Apache-2.0
"""Which devices a project may know of, and what filters find."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from compute_shim.db import device_list, models, queries
from compute_shim.db.api import Database
from compute_shim.objects import State
from tests.unit.db.test_absence import window
from tests.unit.db.test_states import HOST, SERVERS, STICK, empty_database

DEMO, OTHER = "demo", "other"
SHARED: dict[str, Any] = {"shared": True}
CLAIMED: dict[str, Any] = {"instance_uuid": SERVERS[0], "project_id": DEMO, "state": State.ATTACHED}


def one_device(projects: Sequence[str] = (), **values: Any) -> Database:
    """A device with these values of its row, which programs of any version may have written."""
    db = empty_database()
    queries.sync_host(db, HOST, "QEMU", "1.3", [dataclasses.replace(STICK, shared=None)])
    [row] = queries.devices(db)
    with db.writer() as session:
        session.execute(sa.update(models.Device).values(**values))
        session.add_all(models.DeviceProject(device_id=row.id, project_id=name) for name in projects)
    return db


@pytest.mark.parametrize(
    ("projects", "values", "known_to"),
    [
        ([], {}, set()),
        ([], {"shared": False}, set()),
        ([], SHARED, {DEMO, OTHER}),
        ([DEMO], {"shared": False}, {DEMO}),
        ([], {"shared": False, **CLAIMED}, {DEMO}),
        ([OTHER], {"shared": False, **CLAIMED}, {DEMO, OTHER}),
        ([], {**SHARED, "blocked_code": "not_offered", "blocked_reason": "no rule allows it"}, set()),
        ([DEMO], {"shared": False, "blocked_code": "not_offered", "blocked_reason": "no rule"}, set()),
        ([], {**SHARED, **CLAIMED, "blocked_code": "not_offered", "blocked_reason": "no rule"}, {DEMO}),
        ([], {**SHARED, "blocked_reason": "not allowed by device_spec"}, set()),
        ([], {**SHARED, "blocked_code": "host_mount", "blocked_reason": "mounted at /srv"}, {DEMO, OTHER}),
    ],
    ids=[
        "nobody said anything of it",
        "shared with nobody",
        "shared with all",
        "shared by name",
        "its own",
        "one's own and the other's by name",
        "not offered",
        "not offered to who has it by name",
        "not offered any more to who has it",
        "blocked by a program of RPC 1.0",
        "used by the host",
    ],
)
def test_who_knows_of_a_device(projects: list[str], values: dict[str, Any], known_to: set[str]) -> None:
    db = one_device(projects, **values)
    [device_id] = [row.id for row in queries.devices(db)]
    order = device_list.Order()
    for project_id in (DEMO, OTHER):
        wanted = device_list.Filter(project_id, window())
        expected = [device_id] if project_id in known_to else []
        for limit in (None, 1):
            found = device_list.page(db, wanted, order, limit=limit)
            assert [row.id for row in found] == expected
        assert [row.id for row in queries.devices(db, *device_list.conditions(db, wanted))] == expected
        assert (device_list.find(db, device_id, project_id) is not None) == bool(expected)
    everything = device_list.Filter(None, window())
    assert [row.id for row in queries.devices(db, *device_list.conditions(db, everything))] == [device_id]
    assert [row.id for row in device_list.page(db, everything, order)] == [device_id]
    assert device_list.find(db, device_id, None) is not None
    assert device_list.find(db, "missing", None) is None


@pytest.mark.parametrize("project_id", [None, DEMO])
@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, "ABCD"),
        ({"host": "compute2"}, "D"),
        ({"vendor_id": "46f4"}, "B"),
        ({"product_id": "0002"}, "C"),
        ({"port": "1-3"}, "C"),
        ({"kind": "dongle"}, "BD"),
        ({"serial": "A"}, "A"),
        ({"owner": DEMO}, "B"),
        ({"ids": "AD"}, "AD"),
        ({"ids": ""}, ""),
        ({"server_id": SERVERS[0]}, "B"),
        ({"server_id": SERVERS[0], "server_host": "compute2"}, "BD"),
        ({"server_id": "elsewhere", "server_host": HOST}, "ABC"),
        ({"state": State.ATTACHED}, "B"),
        ({"state": State.AVAILABLE}, "AD"),
        ({"state": State.UNAVAILABLE}, "C"),
        ({"kind": "dongle", "host": HOST}, "B"),
    ],
    ids=str,
)
def test_what_filters_find(project_id: str | None, wanted: dict[str, Any], found: str) -> None:
    db = empty_database()
    differences: dict[str, dict[str, Any]] = {
        "A": {"port": "1-1"},
        "B": {"port": "1-2", "vendor_id": "46f4", "kind": "dongle"},
        "C": {"port": "1-3", "product_id": "0002", "blocked_code": "host_mount", "blocked_reason": "mounted"},
        "D": {"port": "1-4", "kind": "dongle"},
    }
    sticks = {
        serial: dataclasses.replace(STICK, identity=serial, serial=serial, **changes)
        for serial, changes in differences.items()
    }
    queries.sync_host(db, HOST, "QEMU", "1.3", [sticks[serial] for serial in "ABC"])
    queries.sync_host(db, "compute2", "QEMU", "1.3", [sticks["D"]])
    with db.writer() as session:
        session.execute(sa.update(models.Device).where(models.Device.serial == "B").values(**CLAIMED))
    if "ids" in wanted:
        ids = frozenset(row.id for row in queries.devices(db) if row.serial in wanted["ids"])
        wanted = {"ids": ids}
    rows = device_list.page(db, device_list.Filter(project_id, window(), **wanted), device_list.Order())
    assert "".join(sorted(row.serial for row in rows)) == found


def test_what_another_project_has_is_not_found_by_its_serial_number() -> None:
    """Though it is known: the serial number is not shown to others."""
    db = one_device(**SHARED, **CLAIMED)
    for project_id, found in ((DEMO, 1), (OTHER, 0), (None, 1)):
        wanted = device_list.Filter(project_id, window(), serial=STICK.serial)
        assert len(device_list.page(db, wanted, device_list.Order())) == found
    assert len(device_list.page(db, device_list.Filter(OTHER, window()), device_list.Order())) == 1


def test_on_a_host_that_is_down_only_what_is_free_is_unavailable() -> None:
    for values, seen in ((SHARED, State.UNAVAILABLE), ({**SHARED, **CLAIMED}, State.ATTACHED)):
        db = one_device(**values)
        for state in State:
            wanted = device_list.Filter(DEMO, window(-60), state=state)
            assert len(device_list.page(db, wanted, device_list.Order())) == (state == seen)
        with db.reader() as session:
            assert session.scalar(sa.select(device_list.seen_state(db, wanted))) == seen


def test_the_state_of_what_another_project_has() -> None:
    """It is unavailable to others, and no filter tells more."""
    db = one_device(**SHARED, **CLAIMED)
    for project_id, seen in ((DEMO, State.ATTACHED), (OTHER, State.UNAVAILABLE), (None, State.ATTACHED)):
        for state in State:
            wanted = device_list.Filter(project_id, window(), state=state)
            assert len(device_list.page(db, wanted, device_list.Order())) == (state == seen)


@pytest.mark.parametrize("handover", ["hold", "wipe", None])
def test_the_state_that_a_project_sees(handover: str | None) -> None:
    """A device that is held from others is available to the project that had it last."""
    db = one_device(**SHARED, handover=handover, last_project_id=DEMO)
    for project_id, held in ((DEMO, False), (OTHER, True), (None, True)):
        for state in (State.AVAILABLE, State.UNAVAILABLE):
            wanted = device_list.Filter(project_id, window(), state=state)
            expected = state == (State.UNAVAILABLE if held and handover == "hold" else State.AVAILABLE)
            assert len(device_list.page(db, wanted, device_list.Order())) == expected
