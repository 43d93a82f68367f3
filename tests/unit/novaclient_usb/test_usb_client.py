# SPDX-License-Identifier: Apache-2.0
"""The client without a shell, as Horizon and ``openstack`` use it."""

from __future__ import annotations

from typing import Any

import pytest
from keystoneauth1 import exceptions

from novaclient_usb import client

SERVER = "5f8a9a0e-7b0c-4f0e-9a5e-0c9d6b9e6a11"
STICK = "8a0c2f5e-95a0-4d0f-8c5b-2f3d0c1f8e01"


def test_list_asks_for_what_is_given_only(usb: Any, cloud: Any, make_device: Any) -> None:
    cloud.usb("GET", "/v1/devices", {"devices": [make_device()]})
    assert usb.devices.list(vendor_id="0781", product_id="5567") == [make_device()]
    assert cloud.usb_log == ["GET http://usb/v1/devices?vendor_id=0781&product_id=5567"]


def test_list_follows_pages_at_its_own_address(usb: Any, cloud: Any, make_device: Any) -> None:
    devices = [make_device(id=str(number)) for number in range(5)]

    def page(request: Any, context: Any) -> dict[str, Any]:
        assert len(cloud.usb_requests) <= 3, "it asks for ever"
        start = int(request.qs.get("marker", ["-1"])[0]) + 1
        href = f"http://10.0.0.1:1/v1/devices?limit=2&marker={start + 1}"
        links = [{"rel": "prev", "href": "http://10.0.0.1:1/"}, {"rel": "next", "href": href}]
        return {"devices": devices[start : start + 2], "devices_links": links[: 2 if start < 4 else 1]}

    cloud.mocker.get("http://usb/v1/devices", json=page)
    assert usb.devices.list() == devices
    assert cloud.usb_log == [
        "GET http://usb/v1/devices",
        "GET http://usb/v1/devices?limit=2&marker=1",
        "GET http://usb/v1/devices?limit=2&marker=3",
    ]


def test_one_device(usb: Any, cloud: Any, make_device: Any) -> None:
    path = f"/v1/devices/{STICK}"
    cloud.usb("GET", path, {"device": make_device()})
    cloud.usb("PATCH", path, {"device": make_device(shared=True)})
    cloud.mocker.delete(f"http://usb{path}", status_code=204)
    assert usb.devices.get(STICK) == make_device()
    assert usb.devices.update(STICK, shared=True, description="desk") == make_device(shared=True)
    usb.devices.delete(STICK)
    assert cloud.usb_log == [
        f"GET http://usb{path}",
        f'PATCH http://usb{path} {{"device": {{"shared": true, "description": "desk"}}}}',
        f"DELETE http://usb{path}",
    ]


def test_attachments(usb: Any, cloud: Any, make_device: Any) -> None:
    path = f"/v1/servers/{SERVER}/attachments"
    attachment = {"server_id": SERVER, "device_id": STICK, "device": make_device(state="attaching")}
    following = [{"rel": "next", "href": f"http://10.0.0.1:1{path}?marker={STICK}"}]
    cloud.usb("GET", path, {"attachments": [attachment], "attachments_links": following}, {"attachments": []})
    cloud.usb("GET", f"{path}/{STICK}", {"attachment": attachment})
    cloud.usb("POST", path, {"attachment": attachment}, status=202)
    cloud.mocker.delete(f"http://usb{path}/{STICK}", status_code=202)
    assert usb.attachments.list(SERVER) == [attachment]
    assert usb.attachments.get(SERVER, STICK) == attachment
    assert usb.attachments.create(SERVER, STICK) == attachment
    usb.attachments.delete(SERVER, STICK)
    assert cloud.usb_log == [
        f"GET http://usb{path}",
        f"GET http://usb{path}?marker={STICK}",
        f"GET http://usb{path}/{STICK}",
        f'POST http://usb{path} {{"attachment": {{"device_id": "{STICK}"}}}}',
        f"DELETE http://usb{path}/{STICK}",
    ]


def test_events_come_from_all_pages(usb: Any, cloud: Any) -> None:
    path = f"/v1/devices/{STICK}/events"
    links = [{"rel": "next", "href": f"http://10.0.0.1:1{path}?limit=1&marker=7"}]
    cloud.usb("GET", path, {"events": [{"id": "7"}], "events_links": links}, {"events": [{"id": "6"}]})
    assert usb.devices.events(STICK) == [{"id": "7"}, {"id": "6"}]
    assert cloud.usb_log == [f"GET http://usb{path}", f"GET http://usb{path}?limit=1&marker=7"]


def test_no_more_events_come_than_are_wanted(usb: Any, cloud: Any) -> None:
    path = f"/v1/devices/{STICK}/events"
    links = [{"rel": "next", "href": f"http://10.0.0.1:1{path}?limit=3&marker=8"}]
    cloud.usb("GET", path, {"events": [{"id": "9"}, {"id": "8"}], "events_links": links})
    assert usb.devices.events(STICK, limit=3) == [{"id": "9"}, {"id": "8"}, {"id": "9"}]
    assert cloud.usb_log == [f"GET http://usb{path}?limit=3", f"GET http://usb{path}?limit=3&marker=8"]


def test_events_of_all_devices(usb: Any, cloud: Any) -> None:
    cloud.usb("GET", "/v1/events", {"events": [{"id": "7"}]})
    assert usb.events.list() == [{"id": "7"}]
    usb.events.list(device_id=STICK, server_id=SERVER, project_id="p", since="2026-01-31T12:00:00Z")
    query = f"device_id={STICK}&server_id={SERVER}&project_id=p&since=2026-01-31T12%3A00%3A00Z"
    assert cloud.usb_log == [
        "GET http://usb/v1/events",
        f"GET http://usb/v1/events?{query}",
    ]


def test_a_global_request_id_is_sent(usb_session: Any, cloud: Any) -> None:
    cloud.usb("GET", "/v1/hosts", {"hosts": []})
    name = "req-12345678-1234-1234-1234-123456789abc"
    client.from_session(usb_session, global_request_id=name).hosts.list()
    client.from_session(usb_session).hosts.list()
    sent = [request.headers.get("X-OpenStack-Request-ID") for request in cloud.usb_requests]
    assert sent == [name, None]


def test_hosts(usb: Any, cloud: Any) -> None:
    cloud.usb("GET", "/v1/hosts", {"hosts": [{"host": "a/b"}]})
    cloud.usb("GET", "/v1/hosts/a%2Fb", {"host": {"host": "a/b"}})
    assert usb.hosts.list() == [{"host": "a/b"}]
    assert usb.hosts.get("a/b") == {"host": "a/b"}


def test_the_end_of_hosts_and_of_claims_there(usb: Any, cloud: Any, make_device: Any) -> None:
    cloud.usb("POST", f"/v1/devices/{STICK}/release", {"device": make_device()})
    cloud.mocker.delete("http://usb/v1/hosts/a%2Fb", status_code=204)
    assert usb.devices.release(STICK) == make_device()
    usb.hosts.delete("a/b")
    assert cloud.usb_log == [
        f"POST http://usb/v1/devices/{STICK}/release",
        "DELETE http://usb/v1/hosts/a%2Fb",
    ]


def test_all_texts_are_made_printable(usb: Any, cloud: Any) -> None:
    cloud.usb(
        "GET", "/v1/hosts/h", {"host": {"a": ["\x1b[1m", {"b": "c\nd"}], "up": True, "bus": 1, "n": None}}
    )
    assert usb.hosts.get("h") == {"a": ["\ufffd[1m", {"b": "c\ufffdd"}], "up": True, "bus": 1, "n": None}


def test_errors_are_those_of_keystoneauth_made_printable(usb: Any, cloud: Any) -> None:
    cloud.usb_error("GET", "/v1/hosts", 409, "taken by \x1b[1m\nnobody")
    with pytest.raises(exceptions.Conflict) as caught:
        usb.hosts.list()
    assert str(caught.value) == "taken by \ufffd[1m\ufffdnobody (HTTP 409) (Request-ID: req-7)"
    assert caught.value.message == str(caught.value)
    assert caught.value.http_status == 409


def test_waiting_looks_often_at_first_and_then_once_a_second(
    usb: Any, cloud: Any, make_device: Any, clock: Any
) -> None:
    cloud.usb("GET", f"/v1/devices/{STICK}", {"device": make_device(server_id=SERVER, state="attaching")})
    seen: list[Any] = []
    with pytest.raises(exceptions.ClientException, match="still attaching after 20 seconds") as caught:
        usb.attachments.wait_attached(SERVER, STICK, time_limit=20, progress=seen.append)
    assert caught.value.device["state"] == "attaching"
    assert clock.pauses[0] == 0.03
    assert clock.pauses == sorted(clock.pauses)
    assert clock.pauses[-1] == 1.0
    assert 18 < sum(clock.pauses) <= 20
    assert len(seen) == len(clock.pauses) + 1


@pytest.mark.usefixtures("clock")
def test_waiting_ends_with_the_attached_device(usb: Any, cloud: Any, make_device: Any) -> None:
    """Also when it is on its way out as the wait begins, and then comes back."""
    states = ["detaching", "attaching", "attached"]
    cloud.usb(
        "GET",
        f"/v1/devices/{STICK}",
        *({"device": make_device(server_id=SERVER, state=state)} for state in states),
    )
    seen: list[str] = []
    device = usb.attachments.wait_attached(
        SERVER, STICK, progress=lambda device: seen.append(device["state"])
    )
    assert device["state"] == "attached"
    assert seen == states


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("state", ["available", "unavailable", "attaching", "attached"])
def test_a_device_that_the_server_lost_is_detached(
    usb: Any, cloud: Any, make_device: Any, state: str
) -> None:
    """Whatever becomes of it then: another server may have it at once."""
    cloud.usb(
        "GET",
        f"/v1/devices/{STICK}",
        {"device": make_device(server_id=SERVER, state="detaching")},
        {"device": make_device(server_id=None, state=state)},
    )
    usb.attachments.wait_detached(SERVER, STICK)
    assert len(cloud.usb_log) == 2


@pytest.mark.usefixtures("clock")
def test_a_device_that_came_back_is_not_detached(usb: Any, cloud: Any, make_device: Any) -> None:
    cloud.usb("GET", f"/v1/devices/{STICK}", {"device": make_device(server_id=SERVER, state="attached")})
    with pytest.raises(exceptions.ClientException, match="was not detached, its state is attached"):
        usb.attachments.wait_detached(SERVER, STICK)


def test_places_in_line(usb: client.Client, cloud: Any) -> None:
    entry = {"id": "7", "place": 2}
    cloud.usb("GET", "/v1/queue", {"queue": [entry]})
    cloud.usb("POST", f"/v1/servers/{SERVER}/queue", {"entry": entry}, status=202)
    cloud.usb("DELETE", f"/v1/servers/{SERVER}/queue/7", None, status=204)
    assert usb.queue.list(server_id=SERVER) == [entry]
    assert usb.queue.join(SERVER, kind="dongle", lease=60, transport="any") == entry
    usb.queue.leave(SERVER, "7")
    wanted = '{"entry": {"kind": "dongle", "lease": 60, "transport": "any"}}'
    assert cloud.usb_log[-3:] == [
        f"GET http://usb/v1/queue?server_id={SERVER}",
        f"POST http://usb/v1/servers/{SERVER}/queue {wanted}",
        f"DELETE http://usb/v1/servers/{SERVER}/queue/7",
    ]


def test_the_code_of_a_refusal(usb: client.Client, cloud: Any) -> None:
    cloud.usb_error("GET", "/v1/queue", 409, "No.", "server_locked")
    with pytest.raises(exceptions.Conflict) as refused:
        usb.queue.list()
    assert client.reason_code(refused.value) == "server_locked"
    assert client.reason_code(exceptions.Conflict("from elsewhere")) is None
