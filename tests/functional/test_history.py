# SPDX-License-Identifier: Apache-2.0
"""The history is append-only, keeps the time that it is told to keep, and is bounded nevertheless."""

from __future__ import annotations

import dataclasses
import datetime
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from oslo_utils import timeutils

from compute_shim.db import events, history, models, queries
from compute_shim.objects import ReasonCode, State
from tests.functional.world import DEMO_PROJECT, OTHER_PROJECT, SERVERS, STICKS, World
from tests.unit.clock import clock

# Of changes that nobody requested, in an hour (compute_shim.db.events).
_LIMIT = 60


def _of_device(world: World, device_id: str, **wanted: Any) -> Sequence[models.Event]:
    return history.page(world.db, history.Filter(device_id=device_id, **wanted))


def _causes(found: Sequence[models.Event]) -> list[str | None]:
    return [event.cause_code for event in found]


def _flap(world: World, times: int) -> None:
    """A stick's contact is loose; another stick stays plugged in."""
    for _ in range(times):
        world.sync(STICK2={})
        world.sync(STICK1={}, STICK2={})


def _hold(world: World, server: str, token: str, device_id: str) -> None:
    world.attach(token, SERVERS[server].id, device_id)
    world.report(device_id, State.ATTACHED)


def _give_back(world: World, server: str, token: str, device_id: str) -> None:
    world.detach(token, SERVERS[server].id, device_id)
    world.report(device_id, State.AVAILABLE)


def test_nobody_pushes_out_what_happened_to_another_project(every_world: World) -> None:
    every_world.sync(STICK1={})
    device_id = every_world.device_id("STICK1")
    _hold(every_world, "DEMO", "demo", device_id)
    _give_back(every_world, "DEMO", "demo", device_id)
    before = [event.id for event in _of_device(every_world, device_id)]
    for _ in range(20):
        _hold(every_world, "OTHER", "other", device_id)
        _give_back(every_world, "OTHER", "other", device_id)
    found = _of_device(every_world, device_id)
    assert [event.id for event in found][-len(before) :] == before
    # Nor is anything that was requested left out, or what became of it.
    assert len(_of_device(every_world, device_id, project_id=OTHER_PROJECT)) == 4 * 20


def test_a_loose_contact_does_not_fill_the_database(every_world: World) -> None:
    every_world.sync(STICK1={}, STICK2={})
    first, second = (every_world.device_id(name) for name in ("STICK1", "STICK2"))
    with clock() as time:
        _flap(every_world, _LIMIT)
        found = _of_device(every_world, first)
        assert len(found) == _LIMIT
        assert found[0].reason_code == ReasonCode.FLAPPING
        assert {event.reason_code for event in found[1:]} == {None, ReasonCode.UNPLUGGED}
        # Others are not concerned: neither another port, nor a project that takes the device, nor requests.
        assert len(_of_device(every_world, second)) == 1
        _hold(every_world, "DEMO", "demo", first)
        every_world.report(first, State.WAITING, reason_code=ReasonCode.UNPLUGGED)
        assert _causes(_of_device(every_world, first)[:3]) == ["unplugged", "requested", "requested"]
        _give_back(every_world, "DEMO", "demo", first)
        # An hour later it counts anew.
        time.jump(3601)
        _flap(every_world, 1)
        assert _causes(_of_device(every_world, first)[:3]) == ["plugged_in", "unplugged", "requested"]


def test_a_loose_contact_in_a_server_does_not_either(world: World) -> None:
    world.sync(STICK1={})
    device_id = world.device_id("STICK1")
    _hold(world, "DEMO", "demo", device_id)
    for _ in range(_LIMIT):
        world.report(device_id, State.WAITING, reason_code=ReasonCode.UNPLUGGED)
        world.report(device_id, State.ATTACHED)
    found = _of_device(world, device_id, project_id=DEMO_PROJECT)
    assert len(found) == _LIMIT + 2
    assert found[0].reason_code == ReasonCode.FLAPPING


def test_a_detach_that_is_refused_for_ever_new_reasons_does_not_either(world: World) -> None:
    world.sync(STICK1={})
    device_id = world.device_id("STICK1")
    _hold(world, "DEMO", "demo", device_id)
    world.detach("demo", SERVERS["DEMO"].id, device_id)
    for number in range(2 * _LIMIT):
        world.report(device_id, State.DETACHING, f"try {number}", ReasonCode.NOT_REMOVED)
    world.report(device_id, State.AVAILABLE)
    causes = _causes(_of_device(world, device_id, project_id=DEMO_PROJECT))
    assert causes.count("retried") == _LIMIT
    assert causes[0] == "requested"


def test_a_device_that_changes_its_serial_all_the_time_does_not_either(world: World) -> None:
    for number in range(130):
        world.sync(STICK1={"identity": f"0781:5567:{number}", "serial": str(number)})
    assert len(history.page(world.db, history.Filter())) == _LIMIT


def test_what_a_host_has_shown_too_much_of_is_forgotten_with_an_event(world: World) -> None:
    for batch in range(2):
        world.conductor.sync(
            {},
            "compute1",
            "QEMU",
            "1.0",
            [_stick(f"{batch}-{number}", port=f"{number + 1}-1") for number in range(300)],
        )
    found = [event for event in history.page(world.db, history.Filter()) if event.cause_code == "forgotten"]
    assert len(found) == 600 - 512
    assert {(event.reason_code, event.user_id, event.host) for event in found} == {
        (ReasonCode.SURPLUS, None, "compute1")
    }
    assert all(queries.device(world.db, event.device_id) is None for event in found)


def _stick(serial: str, port: str) -> dict[str, Any]:
    return dataclasses.asdict(STICKS["STICK1"]) | {"identity": f"0781:5567:{serial}", "port": port}


def _age(world: World, days: float, *ids: int) -> None:
    with world.db.writer() as session:
        moment = timeutils.utcnow() - datetime.timedelta(days=days)
        statement = sa.update(models.Event).values(created_at=moment)
        session.execute(statement.where(models.Event.id.in_(ids)) if ids else statement)


def test_what_is_too_old_is_purged(every_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_BATCH", 3)
    every_world.sync(STICK1={}, STICK2={}, STICK3={})
    device_id = every_world.device_id("STICK1")
    for _ in range(3):
        _hold(every_world, "DEMO", "demo", device_id)
        _give_back(every_world, "DEMO", "demo", device_id)
    everything = [event.id for event in history.page(every_world.db, history.Filter())]
    assert len(everything) == 15
    # Not in the order of their ids: the clock was set back.
    old = everything[1:4] + everything[7:11] + everything[14:]
    _age(every_world, 30.1, *old)
    assert history.purge(every_world.db, 0) == 0
    assert history.purge(every_world.db, 31) == 0
    assert history.purge(every_world.db, 30) == len(old)
    left = [event.id for event in history.page(every_world.db, history.Filter())]
    assert left == [event for event in everything if event not in old]
    assert history.purge(every_world.db, 30) == 0


def test_a_conductor_purges_by_the_option(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.sync(STICK1={})
    _age(world, 89.9)
    history.expire(world.conf, world.db)
    assert len(history.page(world.db, history.Filter())) == 1
    _age(world, 90.1)
    with caplog.at_level("INFO"):
        history.expire(world.conf, world.db)
    assert history.page(world.db, history.Filter()) == []
    assert "Deleted 1 events that were older than 90 days" in caplog.text


def test_an_operator_purges_by_hand(world: World, tmp_path: Path) -> None:
    def purge(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "compute_shim.cmd.manage", f"--config-file={tmp_path}/usb-shim.conf"]
        return subprocess.run(
            [*command, "history", "purge", *arguments], capture_output=True, text=True, check=False
        )

    world.sync(STICK1={}, STICK2={})
    _age(world, 20)
    assert purge().stdout == "0 events deleted\n"
    assert purge("--days", "0").returncode == 2
    assert purge("--days", "40000").returncode == 2
    assert purge("--days", "10").stdout == "2 events deleted\n"


def test_an_event_of_a_host_is_for_administrators(world: World) -> None:
    with world.db.writer() as session:
        events.add_of_host(session, "compute7", ReasonCode.HOST_DELETED, events.Actor("u", "req-1", "p"))
    [event] = world.request("admin", "GET", "/v1/events").json["events"]
    assert (event["host"], event["cause_code"]) == ("compute7", "host_deleted")
    assert (event["device_id"], event["state"], event["user_id"]) == (None, None, "u")
    assert world.request("demo", "GET", "/v1/events").json["events"] == []


def test_hosts_are_for_administrators(world: World) -> None:
    world.sync(STICK1={})
    device_id = world.device_id("STICK1")
    _hold(world, "DEMO", "demo", device_id)
    world.report(device_id, State.FAILED, "QEMU on compute1: /dev/bus/usb/002/003", "hypervisor_error")
    for path in ("/v1/events", f"/v1/devices/{device_id}/events"):
        assert "compute1" in world.request("admin", "GET", path).text
        assert "compute1" not in world.request("demo", "GET", path).text
        assert "/dev/bus" not in world.request("demo", "GET", path).text


def test_ids_do_not_tell_how_much_happens_elsewhere(world: World) -> None:
    world.sync(STICK1={}, STICK2={})
    sticks = [world.device_id(name) for name in ("STICK1", "STICK2")]
    for device_id in sticks:
        world.attach("demo", SERVERS["DEMO"].id, device_id)
    events = world.request("demo", "GET", "/v1/events").json["events"]
    assert {len(event["id"]) for event in events} == {36}


@pytest.mark.parametrize(
    ("cause", "shown"), [("asked", ("requested", "requested")), ("by magic", (None, "by magic"))]
)
def test_causes_of_an_older_release_had_no_code(
    cause: str, shown: tuple[str | None, str], world: World
) -> None:
    world.sync(STICK1={})
    with world.db.writer() as session:
        session.execute(sa.update(models.Event).values(cause=cause, cause_code=None))
    [event] = world.request("admin", "GET", "/v1/events").json["events"]
    assert (event["cause_code"], event["cause"]) == shown


def test_events_of_before_the_upgrade_have_numbers(world: World) -> None:
    """They have no other id, and are found by that."""
    world.sync(STICK1={})
    world.attach("demo", SERVERS["DEMO"].id, world.device_id("STICK1"))
    with world.db.writer() as session:
        session.execute(sa.update(models.Event).values(event_id=None))
    latest, *older = world.request("admin", "GET", "/v1/events").json["events"]
    assert latest["id"].isdigit()
    assert world.request("admin", "GET", f"/v1/events?marker={latest['id']}").json["events"] == older
    assert world.request("admin", "GET", "/v1/events?marker=4711").status_int == 400
