# SPDX-License-Identifier: Apache-2.0
"""What a project must not learn: what another project does with a device, and what is on the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from oslo_utils import timeutils

from compute_shim import nova
from tests.functional.learned import all_that_another_gets
from tests.functional.world import ADMIN_PROJECT, DEMO_PROJECT, SERVERS, World

DEMO, OTHER = SERVERS["DEMO"].id, SERVERS["OTHER"].id
SECRET = "/srv/secret, process 4711 (qemu), interface enx00"


@pytest.fixture
def clock() -> Iterator[None]:
    """Time stands still, but for `_later`."""
    timeutils.set_time_override()
    yield
    timeutils.clear_time_override()


def _later() -> None:
    timeutils.advance_time_seconds(2)


def test_nothing_that_a_server_does_shows_elsewhere(world: World, clock: None) -> None:
    world.sync(STICK1={}, STICK2={})
    device_id = world.device_id("STICK1")
    assert world.attach("demo", DEMO, device_id).status_int == 202
    before = all_that_another_gets(world, device_id)
    for state, code in (
        ("attached", None),
        ("waiting", "server_off"),
        ("attached", None),
        ("waiting", "unplugged"),
        ("failed", "hypervisor_error"),
    ):
        _later()
        world.report(device_id, state, SECRET if code else None, code)
        assert world.request("demo", "GET", f"/v1/devices/{device_id}").json["device"]["state"] == state
        assert all_that_another_gets(world, device_id) == before
    _later()
    assert world.attach("demo", DEMO, device_id).status_int == 202
    assert all_that_another_gets(world, device_id) == before
    _later()
    assert world.detach("demo", DEMO, device_id).status_int == 202
    assert all_that_another_gets(world, device_id) == before


def test_nothing_of_a_device_that_is_not_shared_shows(world: World, clock: None) -> None:
    """Whatever becomes of it, from its first plug-in until it is forgotten."""
    world.sync(STICK2={})
    other_device = world.device_id("STICK2")
    private = {"shared": False, "kind": "dongle"}
    world.sync(STICK1=private, STICK2={"kind": "dongle"})
    device_id = world.device_id("STICK1")
    path = f"/v1/devices/{device_id}"
    # Both projects have a server in line for the kind, of which each may have another device.
    assert world.attach("other", SERVERS["OTHER"].id, other_device).status_int == 202
    world.request("other", "POST", f"/v1/servers/{OTHER}/queue", {"entry": {"kind": "dongle"}})
    before = all_that_another_gets(world, device_id)
    assert {status for status, _, _ in before[:1]} == {404}

    def admin(method: str, path: str, body: Any = None) -> None:
        assert world.request("admin", method, path, body).status_int in (200, 204)

    wanted = {"entry": {"device_id": device_id}}
    acts: list[Callable[[], Any]] = [
        lambda: admin("PUT", f"{path}/projects/{DEMO_PROJECT}"),
        lambda: world.attach("demo", DEMO, device_id),
        lambda: world.request("demo", "POST", f"/v1/servers/{SERVERS['DEMO2'].id}/queue", wanted),
        lambda: world.report(device_id, "attached"),
        lambda: admin("PATCH", path, {"device": {"description": "x", "enabled": False}}),
        lambda: world.report(device_id, "waiting", None, "unplugged"),
        lambda: admin("DELETE", f"{path}/projects/{DEMO_PROJECT}"),
        lambda: world.detach("demo", DEMO, device_id),
        lambda: world.report(device_id, "available"),
        lambda: world.sync(STICK2={"kind": "dongle"}),
        lambda: admin("DELETE", path),
    ]
    for act in acts:
        _later()
        act()
        assert all_that_another_gets(world, device_id) == before
    assert world.request("other", "GET", f"/v1/devices/{other_device}").status_int == 200


def test_the_owner_sees_times(world: World, clock: None) -> None:
    """So that the test above does not pass because nobody is told anything."""
    world.sync(STICK1={})
    device_id = world.device_id("STICK1")
    world.attach("demo", DEMO, device_id)
    path = f"/v1/devices/{device_id}"
    before = world.request("demo", "GET", path).json["device"]
    _later()
    world.report(device_id, "waiting", None, "server_off")
    after = world.request("demo", "GET", path).json["device"]
    assert after["updated_at"] > before["updated_at"]
    assert after["state_since"] > before["state_since"]


@pytest.mark.parametrize("token", ["demo", "demo-reader", "other"])
def test_what_is_on_a_host_is_for_administrators(world: World, token: str) -> None:
    world.sync(
        STICK1={},
        STICK2={"blocked_reason": f"mounted at {SECRET}", "blocked_code": "host_mount"},
        STICK3={"blocked_reason": f"mounted at {SECRET}", "blocked_code": "host_mount", "serial": ""},
    )
    failed, blocked = world.device_id("STICK1"), world.device_id("STICK2")
    server_id = OTHER if token == "other" else DEMO
    assert world.attach("other" if token == "other" else "demo", server_id, failed).status_int == 202
    world.report(failed, "failed", SECRET, "hypervisor_error")
    answers = [
        world.request(token, "GET", path)
        for path in (
            "/v1/devices",
            f"/v1/devices/{failed}",
            f"/v1/devices/{blocked}",
            f"/v1/devices/{failed}/events",
            f"/v1/servers/{server_id}/attachments",
            f"/v1/servers/{server_id}/attachments/{failed}",
        )
    ]
    answers += [world.attach(token, server_id, blocked), world.attach(token, server_id, failed)]
    for answer in answers:
        assert "secret" not in answer.text
        assert "compute1" not in answer.text
    seen = answers[1].json["device"]
    assert (seen["reason_code"], seen["state_reason"]) == (
        "hypervisor_error",
        "the hypervisor refused the device",
    )
    told = world.request("admin", "GET", f"/v1/devices/{blocked}").json["device"]
    assert SECRET in told["state_reason"]


@pytest.mark.parametrize(("token", "project_id"), [("demo", DEMO_PROJECT), ("admin", ADMIN_PROJECT)])
def test_host_id_is_that_of_the_callers_own_servers(world: World, token: str, project_id: str) -> None:
    """Also for administrators, for whom Horizon's project panel shows their own project's servers."""
    world.sync(STICK1={})
    shown = world.request(token, "GET", f"/v1/devices/{world.device_id('STICK1')}").json["device"]
    assert shown["host_id"] == nova.host_id(project_id, "compute1")
