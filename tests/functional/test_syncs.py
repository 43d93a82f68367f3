# SPDX-License-Identifier: Apache-2.0
"""Syncs: what they cost, when one is taken for a repetition of the last, and many of them at once."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from oslo_utils import timeutils

from compute_shim.conductor import payloads
from compute_shim.conductor.manager import Manager
from compute_shim.db import models, queries, syncs
from compute_shim.objects import ReasonCode, State
from tests.functional import statements
from tests.functional.world import DEMO_PROJECT, SERVERS, STICKS, World

HOST = "compute1"
SERVER = SERVERS["DEMO"].id
OTHER_SERVER = SERVERS["OTHER"].id


def _devices(host: str = HOST, count: int = 20) -> list[dict[str, Any]]:
    stick = dataclasses.asdict(STICKS["STICK1"])
    return [
        stick | {"identity": f"0781:5567:{host}-{number}", "serial": f"{host}-{number}", "device": number + 2}
        for number in range(count)
    ]


def _sync(world: World, devices: Any, **arguments: Any) -> list[dict[str, Any]]:
    known = {"host": HOST, "hypervisor": "QEMU", "version": "1.1", "problems": [], "servers": []}
    return world.conductor.sync({}, devices=devices, **known | arguments)


def _verbs(texts: list[str]) -> list[tuple[str, str]]:
    """The verb of each statement, and the table that it is about."""
    tables = ("host_usb_devices", "usb_shared_serials", "usb_device_events", "usb_hosts", "usb_instances")
    return [(text.split()[0], next(table for table in tables if table in text)) for text in texts]


def test_the_first_sync_of_a_host_writes_each_table_once(every_world: World) -> None:
    with statements.recorded(every_world.db.engine()) as made:
        _sync(every_world, _devices(), servers=None)
    assert _verbs(made) == [
        ("UPDATE", "usb_hosts"),  # is it a repetition?
        ("UPDATE", "usb_hosts"),
        ("INSERT", "usb_hosts"),
        ("SELECT", "host_usb_devices"),
        ("SELECT", "usb_shared_serials"),
        ("INSERT", "host_usb_devices"),
        ("INSERT", "usb_device_events"),
    ]


def test_a_sync_that_says_nothing_new_is_one_update_and_one_select(
    every_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _sync(every_world, _devices(), servers=[{"uuid": SERVER, "running": True}])
    for name in ("devices", "problems", "servers"):
        monkeypatch.delattr(payloads, name)  # not even checked
    with statements.recorded(every_world.db.engine()) as made:
        again = _sync(every_world, _devices(), servers=[{"uuid": SERVER, "running": True}])
    assert _verbs(made) == [("UPDATE", "usb_hosts"), ("SELECT", "host_usb_devices")]
    assert sorted(again, key=str) == sorted(first, key=str)


def test_a_sync_that_says_nothing_new_shows_that_the_host_is_up(every_world: World) -> None:
    _sync(every_world, _devices())
    before = queries.host(every_world.db, HOST)
    _sync(every_world, _devices())
    after = queries.host(every_world.db, HOST)
    assert before is not None
    assert after is not None
    assert after.last_seen > before.last_seen
    assert after.last_seen == after.digested_at


def test_what_is_new_wakes_those_who_give_devices_to_servers_in_line(world: World) -> None:
    woken: list[int] = []
    world.conductor = Manager(world.db, lambda: woken.append(1))
    for expected in (1, 1, 2):
        world.sync(STICK1={"port": f"2-{expected}"})
        assert len(woken) == expected
    world.attach("demo", SERVER, world.device_id("STICK1"))
    world.report(world.device_id("STICK1"), "attached")
    assert len(woken) == 3


def test_an_agent_that_knows_nothing_yet_changes_no_device(world: World) -> None:
    _sync(world, _devices(count=1))
    [before] = queries.devices(world.db)
    claims = _sync(world, _devices(count=2), identified=False)
    [after] = queries.devices(world.db)
    assert [claim["device_id"] for claim in claims] == [before.id]
    assert (after.present, after.updated_at) == (True, before.updated_at)


def test_a_sync_that_says_nothing_new_is_answered_with_the_host_s_own_devices(world: World) -> None:
    world.sync("compute2", STICK4={})
    world.sync("compute2")
    for _ in range(2):
        assert [claim["device_id"] for claim in world.sync(STICK1={})] == [world.device_id("STICK1")]


def test_it_answers_what_has_been_wanted_since(every_world: World) -> None:
    every_world.sync(STICK1={})
    device_id = every_world.device_id("STICK1")
    every_world.attach("demo", SERVER, device_id)
    [claim] = every_world.sync(STICK1={})
    assert (claim["server_id"], claim["state"], claim["generation"]) == (SERVER, State.ATTACHING, 1)
    every_world.report(device_id, State.FAILED, "libvirt says no", ReasonCode.HYPERVISOR_ERROR)
    [claim] = every_world.sync(STICK1={})
    assert (claim["state"], claim["reason"]) == (State.FAILED, "libvirt says no")
    every_world.request("admin", "PATCH", f"/v1/devices/{device_id}", {"device": {"enabled": False}})
    every_world.detach("demo", SERVER, device_id)
    every_world.report(device_id, State.AVAILABLE)
    [claim] = every_world.sync(STICK1={})
    assert (claim["server_id"], claim["state"]) == (None, State.UNAVAILABLE)
    assert claim["reason_code"] == ReasonCode.DISABLED


CHANGES: dict[str, dict[str, Any]] = {
    "hypervisor": {"hypervisor": "QEMU 10"},
    "version": {"version": "1.0"},
    "problems": {"problems": ["no udev"]},
    "servers": {"servers": [{"uuid": SERVER, "running": True}]},
    "server state": {"servers": [{"uuid": SERVER, "running": False}]},
    "fewer devices": {"devices": _devices(count=1)},
    "a device moved": {"devices": [it | {"port": "2-2"} for it in _devices(count=2)]},
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_new_is_recorded(world: World, change: str) -> None:
    devices = CHANGES[change].get("devices", _devices(count=2))
    _sync(world, _devices(count=2), servers=[])
    _sync(world, **({"devices": devices} | CHANGES[change]))
    host = queries.host(world.db, HOST)
    assert host is not None
    assert {
        "hypervisor": host.hypervisor == "QEMU 10",
        "version": host.version == "1.0",
        "problems": host.problems == "no udev",
        "servers": _instances(world) == {SERVER: True},
        "server state": _instances(world) == {SERVER: False},
        "fewer devices": [row.present for row in queries.devices(world.db)].count(True) == 1,
        "a device moved": {row.port for row in queries.devices(world.db)} == {"2-2"},
    }[change]


def test_after_a_conductor_of_rpc_1_0_a_sync_is_worked_through(every_world: World) -> None:
    """It knows no digest: what it writes is not what the last digest is of."""
    every_world.sync(STICK1={})
    device_id = every_world.device_id("STICK1")
    with every_world.db.engine().begin() as connection:
        # As it does at a sync in which the host uses the device, which has another number now.
        connection.execute(sa.update(models.Host).values(last_seen=timeutils.utcnow()))
        connection.execute(
            sa.update(models.Device).values(
                blocked_reason="used by the host: swap space",
                state=State.UNAVAILABLE,
                state_reason="used by the host: swap space",
                device=99,
            )
        )
    [claim] = every_world.sync(STICK1={})
    row = queries.device(every_world.db, device_id)
    assert row is not None
    assert (row.device, row.blocked_reason, claim["state"]) == (2, None, State.AVAILABLE)


def test_after_a_conductor_of_another_version_a_sync_is_worked_through(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may make something else of the same message."""
    world.sync(STICK1={})
    monkeypatch.setattr(payloads, "_VERSION", "99")
    with statements.recorded(world.db.engine()) as made:
        world.sync(STICK1={})
    assert ("SELECT", "host_usb_devices") in _verbs(made)
    assert len(made) > 2


def test_a_row_that_is_deleted_by_hand_comes_back(every_world: World) -> None:
    every_world.sync(STICK1={}, STICK2={})
    with every_world.db.engine().begin() as connection:
        connection.execute(
            sa.delete(models.Device).where(models.Device.identity == STICKS["STICK1"].identity)
        )
    assert len(every_world.sync(STICK1={}, STICK2={})) == 2
    assert every_world.device_id("STICK1")


def test_a_host_that_is_deleted_by_hand_comes_back(every_world: World) -> None:
    every_world.sync(STICK1={})
    with every_world.db.engine().begin() as connection:
        connection.execute(sa.delete(models.Host))
    every_world.sync(STICK1={})
    assert queries.host(every_world.db, HOST) is not None


def test_a_device_is_forgotten_and_comes_back(every_world: World) -> None:
    every_world.sync(STICK1={}, STICK2={})
    every_world.sync(STICK1={})
    device_id = every_world.device_id("STICK2")
    assert every_world.request("admin", "DELETE", f"/v1/devices/{device_id}").status_int == 204
    assert len(every_world.sync(STICK1={})) == 1
    assert len(every_world.sync(STICK1={}, STICK2={})) == 2


def test_of_too_many_devices_the_oldest_are_forgotten(
    every_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those whose name comes first, in either direction."""
    ages = {"STICK3": 3, "STICK1": 2, "STICK4": 1}
    every_world.sync(STICK4={}, STICK1={}, STICK3={})
    with every_world.db.engine().begin() as connection:
        for stick, days in ages.items():
            created = timeutils.utcnow() - datetime.timedelta(days=days)
            row = models.Device.serial == stick
            connection.execute(sa.update(models.Device).where(row).values(created_at=created))
    for most, left in ((3, {"STICK1", "STICK4", "STICK2"}), (2, {"STICK4", "STICK2"})):
        monkeypatch.setattr(syncs, "_ROWS_PER_HOST", most)
        every_world.sync(STICK2={"device": most})
        assert _known(every_world) == left


def test_nothing_is_left_of_a_device_that_was_too_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.sync(STICK1={}, STICK2={})
    forgotten = world.device_id("STICK1")
    assert world.request("admin", "PUT", f"/v1/devices/{forgotten}/projects/{DEMO_PROJECT}").status_int == 204
    wanted = {"entry": {"device_id": forgotten}}
    assert world.attach("other", OTHER_SERVER, forgotten).status_int == 202
    assert world.request("demo", "POST", f"/v1/servers/{SERVER}/queue", wanted).status_int == 202
    assert world.detach("other", OTHER_SERVER, forgotten).status_int == 202
    world.report(forgotten, "available")
    monkeypatch.setattr(syncs, "_ROWS_PER_HOST", 1)
    world.sync(STICK2={"device": 9})
    assert _known(world) == {"STICK2"}
    assert world.request("demo", "GET", "/v1/queue").json["queue"] == []
    with world.db.reader() as session:
        assert session.scalars(sa.select(models.DeviceProject)).all() == []


def _known(world: World) -> set[str]:
    return {row.serial for row in queries.devices(world.db)}


def test_what_is_no_list_is_no_repetition_of_anything(world: World) -> None:
    for devices in ("no list", {"no": "list"}, 5, None):
        assert _sync(world, devices) == []
        assert _sync(world, devices) == []


def _instances(world: World, host: str = HOST) -> dict[str, bool]:
    with world.db.reader() as session:
        rows = session.scalars(sa.select(models.Instance).where(models.Instance.host == host))
        return {row.instance_uuid: row.running for row in rows}


def test_servers_are_recorded_as_they_come_and_go(every_world: World) -> None:
    world = every_world
    _sync(world, [], servers=[{"uuid": SERVER, "running": True}])
    _sync(world, [], host="compute2", servers=[{"uuid": SERVER, "running": False}])
    _sync(world, [], servers=[{"uuid": SERVER, "running": False}, {"uuid": OTHER_SERVER, "running": True}])
    assert _instances(world) == {SERVER: False, OTHER_SERVER: True}
    with statements.recorded(world.db.engine()) as made:
        _sync(world, [], servers=[{"uuid": OTHER_SERVER, "running": True}])
    assert [it for it in _verbs(made) if it[1] == "usb_instances"] == [
        ("SELECT", "usb_instances"),
        ("DELETE", "usb_instances"),
    ]
    assert _instances(world) == {OTHER_SERVER: True}
    assert _instances(world, "compute2") == {SERVER: False}


def test_an_agent_that_cannot_say_leaves_its_servers_as_they_are(world: World) -> None:
    _sync(world, [], servers=[{"uuid": SERVER, "running": True}])
    _sync(world, [], servers=None)
    assert _instances(world) == {SERVER: True}


@pytest.mark.parametrize("record", [{"uuid": "x", "running": True}, {"uuid": OTHER_SERVER}, 5, None])
def test_a_server_is_not_gone_because_a_record_is_wrong(world: World, record: Any) -> None:
    _sync(world, [], servers=[{"uuid": SERVER, "running": True}])
    _sync(world, [], servers=[record])
    assert _instances(world) == {SERVER: True}


def test_nothing_is_known_of_servers_when_the_agent_is_one_of_rpc_1_0_again(every_world: World) -> None:
    _sync(every_world, [], servers=[{"uuid": SERVER, "running": True}])
    every_world.conductor.sync({}, HOST, "QEMU", "1.0", [], [])
    assert _instances(every_world) == {}


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_a_new_cloud_signs_on(kind: str, new_database: Callable[[str], str], tmp_path: Path) -> None:
    """All hosts at once: no call fails, and the database refuses none, so that none is done again."""
    world = World(new_database(kind), tmp_path)
    hosts = [f"compute{number}" for number in range(300)]
    refused: list[BaseException] = []

    def refuse(context: sa.engine.ExceptionContext) -> None:
        refused.append(context.original_exception)

    sa.event.listen(world.db.engine(), "handle_error", refuse)
    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda host: _sync(world, _devices(host, 5), host=host), hosts))
    assert [len(answer) for answer in answers] == [5] * len(hosts)
    assert len(queries.devices(world.db)) == 5 * len(hosts)
    assert refused == []
