# SPDX-License-Identifier: Apache-2.0
"""Lists of hosts, and how the host of a server is found without looking at all of them."""

from __future__ import annotations

import datetime
from typing import Any
from urllib import parse

import pytest
import sqlalchemy as sa
from oslo_utils import timeutils

from compute_shim.db import host_list, models
from tests.functional import statements
from tests.functional.world import SERVERS, World

HOSTS = ["compute3", "compute1", "compute2"]  # in the order in which they are seen


def _hosts(world: World, query: str = "") -> list[str]:
    """The names on all pages."""
    names: list[str] = []
    path: str | None = f"/v1/hosts{query}"
    while path:
        page: dict[str, Any] = world.request("admin", "GET", path).json
        names += [host["host"] for host in page["hosts"]]
        path = next((link["href"] for link in page.get("hosts_links", [])), None)
    return names


@pytest.fixture
def cloud(every_world: World) -> World:
    """Three hosts, seen one after the other, with one, two and three sticks."""
    for number, host in enumerate(HOSTS, start=1):
        every_world.sync(host, **{f"STICK{stick}": {} for stick in range(1, number + 1)})
        with every_world.db.writer() as session:
            seen = timeutils.utcnow().replace(second=number, microsecond=number)
            session.execute(sa.update(models.Host).where(models.Host.host == host).values(last_seen=seen))
    return every_world


@pytest.mark.parametrize(
    ("query", "order"),
    [
        ("", sorted(HOSTS)),
        ("sort_dir=desc", sorted(HOSTS, reverse=True)),
        ("sort_key=host&sort_dir=asc", sorted(HOSTS)),
        ("sort_key=last_seen", HOSTS),
        ("sort_key=last_seen&sort_dir=desc", HOSTS[::-1]),
    ],
)
def test_hosts_are_sorted_and_on_one_page_each(cloud: World, query: str, order: list[str]) -> None:
    assert _hosts(cloud, f"?{query}") == order
    assert _hosts(cloud, f"?limit=1&{query}") == order
    assert _hosts(cloud, f"?limit=2&{query}") == order


def test_hosts_that_are_seen_at_once_are_on_one_page_each(cloud: World) -> None:
    with cloud.db.writer() as session:
        session.execute(sa.update(models.Host).values(last_seen=timeutils.utcnow()))
    assert _hosts(cloud, "?limit=1&sort_key=last_seen") == sorted(HOSTS)
    assert _hosts(cloud, "?limit=1&sort_key=last_seen&sort_dir=desc") == sorted(HOSTS, reverse=True)


@pytest.mark.parametrize("name", ["compute_01", "compute1.example.org", "192.0.2.1", "fe80::1"])
def test_a_host_has_any_name_that_nova_takes(world: World, name: str) -> None:
    world.sync(name, STICK1={})
    assert _hosts(world) == [name]
    assert world.request("admin", "GET", f"/v1/hosts/{name}").json["host"]["host"] == name


def test_the_last_page_has_no_link(cloud: World) -> None:
    first = cloud.request("admin", "GET", "/v1/hosts?limit=2").json
    [link] = first["hosts_links"]
    assert parse.parse_qs(parse.urlsplit(link["href"]).query) == {"limit": ["2"], "marker": ["compute2"]}
    assert "hosts_links" not in cloud.request("admin", "GET", "/v1/hosts?limit=3").json


@pytest.mark.parametrize("token", ["demo", "admin"])
def test_one_of_a_kind_is_taken_on_the_host_of_the_server(world: World, token: str) -> None:
    """Though another host showed one earlier."""
    world.sync("compute2", STICK4={"kind": "dongle"})
    world.sync("compute1", STICK1={"kind": "dongle"}, STICK2={})
    server = SERVERS["DEMO"].id
    answer = world.attach_kind(token, server, "dongle")
    assert answer.json["attachment"]["device_id"] == world.device_id("STICK1")
    assert world.attach_kind(token, server, "dongle").json["error"]["reason_code"] == "kind_not_free"


def test_what_an_older_release_recorded_is_shown(world: World) -> None:
    """Before it had these columns."""
    world.sync(STICK1={})
    with world.db.writer() as session:
        session.execute(sa.update(models.Host).values(problems=None))
        session.execute(sa.update(models.Device).values(state_since=None))
    host = world.request("admin", "GET", "/v1/hosts/compute1").json["host"]
    assert host["problems"] == []
    device = world.request("admin", "GET", f"/v1/devices/{world.device_id('STICK1')}").json["device"]
    assert device["state_since"] == device["updated_at"]


def test_a_use_by_the_host_that_has_no_code_is_explained(world: World) -> None:
    world.sync(STICK1={})
    with world.db.writer() as session:
        session.execute(sa.update(models.Device).values(blocked_reason="used by the host"))
    path = f"/v1/devices/{world.device_id('STICK1')}/explain"
    conditions = world.request("admin", "GET", path).json["explanation"]["conditions"]
    assert [it["reason_code"] for it in conditions if it["condition"] == "unused_by_host"] == ["host_use"]


def test_problems_of_a_host_are_shown(world: World) -> None:
    world.conductor.sync({}, "compute1", "QEMU", "1.3", [], ["no udev", "no libvirt"])
    host = world.request("admin", "GET", "/v1/hosts/compute1").json["host"]
    assert host["problems"] == ["no udev", "no libvirt"]


def test_a_device_that_is_changed_is_in_its_state_as_long_as_before(world: World) -> None:
    world.sync(STICK1={})
    row = models.Device
    with world.db.writer() as session:
        (since,) = session.scalars(sa.select(row.state_since)).all()
        assert since is not None
        session.execute(sa.update(row).values(updated_at=since + datetime.timedelta(hours=1)))
    device = world.request("admin", "GET", f"/v1/devices/{world.device_id('STICK1')}").json["device"]
    assert device["state_since"] == f"{since.isoformat(timespec='seconds')}Z" != device["updated_at"]


def test_the_counts_of_a_host_are_its_own(cloud: World) -> None:
    listed = cloud.request("admin", "GET", "/v1/hosts").json["hosts"]
    assert {host["host"]: host["devices"]["available"] for host in listed} == {
        "compute3": 1,
        "compute1": 2,
        "compute2": 3,
    }
    for host in listed:
        assert cloud.request("admin", "GET", f"/v1/hosts/{host['host']}").json["host"] == host


def test_devices_are_counted_for_the_hosts_of_the_page_only(
    cloud: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    count = host_list.count_devices
    monkeypatch.setattr(host_list, "count_devices", lambda db, hosts: asked.append(hosts) or count(db, hosts))
    cloud.request("admin", "GET", "/v1/hosts?limit=1")
    cloud.request("admin", "GET", "/v1/hosts/compute2")
    assert asked == [["compute1"], ["compute2"]]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/hosts?state=up",
        "/v1/hosts?limit=0",
        "/v1/hosts?sort_key=problems",
        "/v1/hosts?sort_dir=up",
        "/v1/hosts?marker=compute9",
        "/v1/hosts/compute1?limit=1",
    ],
)
def test_what_hosts_do_not_have_is_refused(world: World, path: str) -> None:
    world.sync()
    answer = world.request("admin", "GET", path)
    assert answer.status_int == 400
    assert answer.json["error"]["reason_code"] == "invalid_input"


def test_no_page_is_longer_than_the_service_allows(cloud: World) -> None:
    cloud.conf.set_override("max_limit", 2, group="api")
    for path in ("/v1/hosts?limit=3", "/v1/hosts", "/v1/devices?limit=3", "/v1/devices"):
        page = cloud.request("admin", "GET", path).json
        [items] = [value for name, value in page.items() if not name.endswith("_links")]
        assert len(items) == 2
        assert len(page) == 2


@pytest.fixture
def no_look_at_all_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    def names(db: object) -> None:
        raise AssertionError("all hosts are looked at")

    monkeypatch.setattr(host_list, "names", names)


@pytest.mark.usefixtures("no_look_at_all_hosts")
def test_an_attach_looks_at_one_host(cloud: World) -> None:
    cloud.sync("compute1", STICK1={})
    [claim] = cloud.sync("compute9", STICK3={"identity": "0781:5567:other"})
    with statements.recorded(cloud.db.engine()) as made:
        answer = cloud.attach("demo", SERVERS["AGENTLESS"].id, claim["device_id"])
    assert answer.status_int == 202
    assert not [text for text in made if "FROM usb_hosts" in text and "WHERE" not in text]


@pytest.mark.usefixtures("no_look_at_all_hosts")
def test_the_devices_of_a_server_whose_domain_an_agent_sees_are_found_by_its_host(cloud: World) -> None:
    server = SERVERS["FAR"].id
    for host, running in (("compute1", False), ("compute2", True)):  # it has just moved
        cloud.conductor.sync({}, host, "QEMU", "1.1", [], [], [{"uuid": server, "running": running}])
    cloud.sync("compute2", STICK1={}, STICK2={})
    assert len(cloud.request("demo", "GET", f"/v1/devices?server_id={server}").json["devices"]) == 3


@pytest.mark.usefixtures("no_look_at_all_hosts")
def test_the_devices_of_a_server_that_has_one_are_found_by_its_host(cloud: World) -> None:
    server, device = SERVERS["DEMO"].id, cloud.sync("compute1", STICK1={}, STICK2={})[0]
    assert cloud.attach("demo", server, device["device_id"]).status_int == 202
    assert len(cloud.request("demo", "GET", f"/v1/devices?server_id={server}").json["devices"]) == 2


def test_the_devices_of_any_other_server_are_found_as_well(cloud: World) -> None:
    """Where it has moved to no agent may have told yet; what its old host says is wrong."""
    server = SERVERS["FAR"].id
    cloud.conductor.sync({}, "compute1", "QEMU", "1.1", [], [], [{"uuid": server, "running": True}])
    path = f"/v1/devices?server_id={server}"
    assert len(cloud.request("demo", "GET", path).json["devices"]) == 3


@pytest.mark.parametrize("name", ["SHELVED", "AGENTLESS"])
def test_a_server_that_is_on_no_host_with_an_agent_has_no_devices_in_reach(cloud: World, name: str) -> None:
    path = f"/v1/devices?server_id={SERVERS[name].id}"
    assert cloud.request("demo", "GET", path).json["devices"] == []
