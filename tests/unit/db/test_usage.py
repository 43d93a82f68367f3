# SPDX-License-Identifier: Apache-2.0
"""Limits on devices."""

from __future__ import annotations

import dataclasses

import pytest
import sqlalchemy as sa

from compute_shim.db import intent, models, queries, usage
from compute_shim.db.api import Database
from compute_shim.db.usage import DEVICES, Caps, OverLimit
from compute_shim.objects import Server
from tests.unit.db.test_states import HOST, SERVERS, STICK, empty_database

ELSEWHERE = "compute2"
DONGLES = f"{DEVICES}:dongle"


@pytest.mark.parametrize(
    ("caps", "limited"),
    [
        (Caps(), False),
        (Caps({DEVICES: -1}), False),
        (Caps({DEVICES: 0}), True),
        (Caps({DEVICES: -1, f"{DEVICES}:dongle": 3}), True),
        (Caps(server=0), True),
        (Caps({DEVICES: 5}, server=2), True),
    ],
    ids=str,
)
def test_the_claims_of_a_project_come_one_after_the_other_where_there_is_a_limit(
    caps: Caps, limited: bool
) -> None:
    """Of claims at once, each must count those before it (`compute_shim.db.intent.take`)."""
    assert bool(caps) is limited


def test_each_claim_of_a_project_writes_its_row() -> None:
    db = empty_database()
    for project_id in ("a", "b", "a"):
        with db.writer() as session:
            usage.lock(session, project_id)
    with db.reader() as session:
        rows = session.execute(sa.select(models.Project.project_id, models.Project.claims)).all()
    assert dict(row._tuple() for row in rows) == {"a": 2, "b": 1}


def cloud(usb_ports: int | None = None) -> tuple[Database, dict[str, models.Device]]:
    """The first server has dongle A and, where it was before, D; the second, of another project, has C."""
    db = empty_database()
    sticks = {
        name: dataclasses.replace(STICK, identity=name, serial=name, kind=None if name == "C" else "dongle")
        for name in "ABCD"
    }
    servers = {SERVERS[0]: Server(True, usb_ports), SERVERS[1]: Server(True, 9)}
    queries.sync_host(db, HOST, "QEMU", "1.3", [sticks[name] for name in "ABC"], servers=servers)
    queries.sync_host(db, ELSEWHERE, "QEMU", "1.3", [sticks["D"]])
    rows = {row.serial: row for row in queries.devices(db)}
    for name, server_id, project_id in (
        ("A", SERVERS[0], "demo"),
        ("D", SERVERS[0], "demo"),
        ("C", SERVERS[1], "other"),
    ):
        assert intent.claim(db, rows[name].id, server_id, project_id)
    return db, rows


def over(found: dict[str, OverLimit]) -> dict[str, tuple[str | None, int, int]]:
    return {name: (it.resource, it.limit, it.used) for name, it in found.items()}


@pytest.mark.parametrize(
    ("caps", "usb_ports", "broken"),
    [
        (Caps(), None, {}),
        (Caps({DEVICES: 3}), None, {}),
        (Caps({DEVICES: 2}), None, {"quota": (DEVICES, 2, 2)}),
        (Caps({DEVICES: 0}), None, {"quota": (DEVICES, 0, 2)}),
        (Caps({DEVICES: -1}), None, {}),
        (Caps({DONGLES: 3}), None, {}),
        (Caps({DONGLES: 2}), None, {"quota": (DONGLES, 2, 2)}),
        (Caps({f"{DEVICES}:disk": 0}), None, {}),
        (Caps({DEVICES: 2, DONGLES: 1}), None, {"quota": (DEVICES, 2, 2)}),
        (Caps(server=3), None, {}),
        (Caps(server=2), None, {"server_limit": (None, 2, 2)}),
        (Caps(), 2, {}),
        (Caps(), 1, {"usb_port": (usage.PORTS, 1, 1)}),
        (
            Caps({DEVICES: 2}, server=2),
            1,
            {"usb_port": (usage.PORTS, 1, 1), "server_limit": (None, 2, 2), "quota": (DEVICES, 2, 2)},
        ),
    ],
    ids=str,
)
def test_which_limits_one_more_device_would_break(
    caps: Caps, usb_ports: int | None, broken: dict[str, tuple[str | None, int, int]]
) -> None:
    db, rows = cloud(usb_ports)
    assert over(usage.would_exceed(db, caps, rows["B"], SERVERS[0], "demo")) == broken


def test_what_a_server_has_breaks_no_limit_when_it_asks_again() -> None:
    db, rows = cloud(usb_ports=1)
    caps = Caps({DEVICES: 2}, server=2)
    assert (
        usage.would_exceed(db, caps, queries.devices_of_server(db, SERVERS[0])[0], SERVERS[0], "demo") == {}
    )
    assert "quota" in usage.would_exceed(db, caps, rows["B"], SERVERS[0], "demo")
    assert usage.would_exceed(db, caps, rows["B"], SERVERS[1], "other") == {}, (
        "another server has other ports"
    )


def test_what_is_given_back_does_not_count() -> None:
    db, rows = cloud(usb_ports=1)
    assert intent.release(db, rows["A"].id, SERVERS[0])
    assert usage.would_exceed(db, Caps({DEVICES: 2}, server=2), rows["B"], SERVERS[0], "demo") == {}
    assert usage.ports(db, SERVERS[0]) == (1, 0)


@pytest.mark.parametrize(
    ("caps", "usb_ports", "broken"),
    [
        (Caps({DEVICES: 2}), None, (DEVICES, 2, 2)),
        (Caps(server=2), None, (None, 2, 2)),
        (Caps(server=2), 1, (usage.PORTS, 1, 1)),
    ],
    ids=str,
)
def test_a_claim_over_a_limit_is_not_made(
    caps: Caps, usb_ports: int | None, broken: tuple[str | None, int, int]
) -> None:
    db, rows = cloud(usb_ports)
    with pytest.raises(OverLimit) as raised:
        intent.claim(db, rows["B"].id, SERVERS[0], "demo", caps=caps)
    assert over({"": raised.value}) == {"": broken}
    row = queries.device(db, rows["B"].id)
    assert row is not None
    assert (row.instance_uuid, row.generation) == (None, 0)


def test_a_device_that_is_taken_is_no_question_of_limits() -> None:
    db, rows = cloud()
    assert not intent.claim(db, rows["C"].id, SERVERS[0], "demo", caps=Caps({DEVICES: 0}, server=0))


def test_a_claim_up_to_a_limit_is_made() -> None:
    db, rows = cloud(usb_ports=2)
    caps = Caps({DEVICES: 3, DONGLES: 3}, server=3)
    assert intent.claim(db, rows["B"].id, SERVERS[0], "demo", caps=caps)


def test_the_ports_of_a_server_are_those_where_it_runs() -> None:
    """While it moves, its new domain is there already."""
    db, _ = cloud(usb_ports=4)
    assert usage.ports(db, SERVERS[0]) == (4, 1)
    for host, running, usb_ports, counted in (
        (ELSEWHERE, False, 8, (4, 1)),
        ("compute0", False, 2, (4, 1)),
        (HOST, False, 6, (2, 0)),
        ("compute0", False, 3, (3, 0)),
        (ELSEWHERE, True, 8, (8, 1)),
    ):
        queries.sync_host(db, host, "QEMU", "1.3", None, servers={SERVERS[0]: Server(running, usb_ports)})
        assert usage.ports(db, SERVERS[0]) == counted


def test_a_server_whose_ports_nobody_tells() -> None:
    db, _ = cloud(usb_ports=None)
    assert usage.ports(db, SERVERS[0]) is None
    assert usage.ports(db, "elsewhere") is None
    assert usage.ports(db, SERVERS[1]) == (9, 1)
