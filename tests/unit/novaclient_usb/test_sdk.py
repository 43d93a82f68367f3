# SPDX-License-Identifier: Apache-2.0
"""``conn.usb_passthrough``: what it asks the service, and what it makes of the answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openstack
import pytest
from openstack import exceptions

from novaclient_usb.sdk.proxy import Proxy

PROJECT = "3f1c9b0a5d4e4f6f8a7b6c5d4e3f2a1b"
DEMO = "5f8a9a0e-7b0c-4f0e-9a5e-0c9d6b9e6a11"
STICK1 = "8a0c2f5e-95a0-4d0f-8c5b-2f3d0c1f8e01"
STICK2 = "8a0c2f5e-95a0-4d0f-8c5b-2f3d0c1f8e02"
PLACE = "1d6b7c1e-4a43-4d2b-9f3a-6f0c2b7a9e31"

DEVICES = "/v1/devices"
ATTACHMENTS = f"/v1/servers/{DEMO}/attachments"

VERSION = {
    "id": "v1.0",
    "status": "CURRENT",
    "min_version": "1.0",
    "version": "1.0",
    "max_version": "1.0",
    "links": [{"rel": "self", "href": "http://usb/v1/"}],
}

CLOUDS = """
clouds:
  lab:
    auth: {auth_url: "http://keystone/v3", username: u, password: p, project_name: p,
           user_domain_id: d, project_domain_id: d}
    vendor_hook: "novaclient_usb.sdk:register"
"""


@pytest.fixture
def usb(cloud: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    """As a program has it whose ``clouds.yaml`` names our hook."""
    (tmp_path / "clouds.yaml").write_text(CLOUDS)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    for path in ("/v1", "/v1/"):
        cloud.usb("GET", path, {"version": VERSION})
    cloud.usb("GET", "/", {"versions": [VERSION]})
    return openstack.connect(cloud="lab").usb_passthrough


@pytest.fixture
def asked(cloud: Any) -> Any:
    """What was asked of the service but for its versions; with the keys of bodies in order."""

    def lines() -> list[str]:
        return [
            " ".join([request.method, request.url, _sorted(request.text)]).strip()
            for request in cloud.usb_requests
            if not request.url.endswith(("usb/", "/v1", "/v1/"))
        ]

    return lines


def _sorted(body: str | None) -> str:
    return json.dumps(json.loads(body), sort_keys=True) if body else ""


@pytest.fixture
def make_attachment(make_device: Any) -> Any:
    def make(**device: Any) -> dict[str, Any]:
        return {
            "server_id": DEMO,
            "device_id": STICK1,
            "kind": None,
            "lease_until": None,
            "device": make_device(**{"server_id": DEMO, "state": "attaching", **device}),
        }

    return make


def test_devices(usb: Proxy, cloud: Any, asked: Any, make_device: Any) -> None:
    """The service makes two pages of them."""
    following = [{"rel": "next", "href": f"http://usb/v1/devices?state=available&marker={STICK1}"}]
    cloud.usb(
        "GET",
        DEVICES,
        {"devices": [make_device()], "devices_links": following},
        {"devices": [make_device(id=STICK2)]},
    )
    found = list(usb.devices(state="available"))
    assert [device.id for device in found] == [STICK1, STICK2]
    assert (found[0].bus, found[0].device, found[0].is_enabled, found[0].state) == (2, 3, True, "available")
    assert asked() == [
        "GET http://usb/v1/devices?state=available",
        f"GET http://usb/v1/devices?state=available&marker={STICK1}",
    ]
    headers = cloud.usb_requests[-1].headers
    assert headers["OpenStack-API-Version"] == "usb-passthrough 1.0"


def test_devices_of_other_hosts(usb: Proxy, cloud: Any, asked: Any, make_device: Any) -> None:
    told = {"over_network": True, "used_over_network": True, "other_host": True, "server_host": "usbhost2"}
    cloud.usb("GET", DEVICES, {"devices": [make_device(**told)]})
    (found,) = usb.devices(server_id=DEMO, transport="any")
    assert (found.is_over_network, found.is_used_over_network, found.is_on_other_host) == (True, True, True)
    assert found.server_host == "usbhost2"
    assert asked() == [f"GET http://usb/v1/devices?server_id={DEMO}&transport=any"]


def test_one_device(usb: Proxy, cloud: Any, make_device: Any) -> None:
    cloud.usb("GET", f"{DEVICES}/{STICK1}", {"device": make_device()})
    cloud.usb_error("GET", f"{DEVICES}/LABSTICK", 404, "There is no such device.")
    cloud.usb_error("GET", f"{DEVICES}/nosuch", 404, "There is no such device.")
    cloud.usb("GET", DEVICES, {"devices": [make_device(name="LABSTICK")]})
    assert usb.get_device(STICK1).serial == "LABSTICK01"
    assert usb.find_device("LABSTICK").id == STICK1
    assert usb.find_device("nosuch") is None
    with pytest.raises(exceptions.NotFoundException):
        usb.find_device("nosuch", ignore_missing=False)


def test_what_operators_do_with_devices(usb: Proxy, cloud: Any, asked: Any, make_device: Any) -> None:
    cloud.usb("PATCH", f"{DEVICES}/{STICK1}", {"device": make_device(description="in rack 4")})
    cloud.usb("POST", f"{DEVICES}/{STICK1}/release", {"device": make_device(state="available")})
    cloud.usb("PUT", f"{DEVICES}/{STICK1}/projects/{PROJECT}", None, status=204)
    cloud.usb("DELETE", f"{DEVICES}/{STICK1}/projects/{PROJECT}", None, status=204)
    cloud.usb("DELETE", f"{DEVICES}/{STICK1}", None, status=204)
    changed = usb.update_device(STICK1, description="in rack 4", is_enabled=False, is_shared=True)
    assert changed.description == "in rack 4"
    assert usb.release_device(changed).state == "available"
    usb.share_device(changed, PROJECT)
    usb.unshare_device(STICK1, PROJECT)
    usb.delete_device(STICK1)
    body = '{"device": {"description": "in rack 4", "enabled": false, "shared": true}}'
    assert asked() == [
        f"PATCH http://usb{DEVICES}/{STICK1} {body}",
        f"POST http://usb{DEVICES}/{STICK1}/release",
        f"PUT http://usb{DEVICES}/{STICK1}/projects/{PROJECT}",
        f"DELETE http://usb{DEVICES}/{STICK1}/projects/{PROJECT}",
        f"DELETE http://usb{DEVICES}/{STICK1}",
    ]


def test_what_is_refused(usb: Proxy, cloud: Any) -> None:
    cloud.usb_error("POST", f"{DEVICES}/{STICK1}/release", 409, "It is not claimed.", "device_not_claimed")
    with pytest.raises(exceptions.ConflictException, match=r"It is not claimed\."):
        usb.release_device(STICK1)


def test_explain(usb: Proxy, cloud: Any) -> None:
    explanation = {"attachable": True, "conditions": []}
    cloud.usb("GET", f"{DEVICES}/{STICK1}/explain?server_id={DEMO}", {"explanation": explanation})
    assert usb.explain_device(STICK1, DEMO) == explanation


def test_events(usb: Proxy, cloud: Any, asked: Any) -> None:
    cloud.usb("GET", f"{DEVICES}/{STICK1}/events", {"events": [{"id": "e1", "cause_code": "unplugged"}]})
    cloud.usb("GET", "/v1/events", {"events": [{"id": "e2", "cause_code": "requested"}]})
    assert [event.cause_code for event in usb.device_events(STICK1)] == ["unplugged"]
    assert [event.cause_code for event in usb.events(server_id=DEMO)] == ["requested"]
    assert asked() == [
        f"GET http://usb{DEVICES}/{STICK1}/events",
        f"GET http://usb/v1/events?server_id={DEMO}",
    ]


def test_attach_and_wait(usb: Proxy, cloud: Any, asked: Any, make_attachment: Any) -> None:
    cloud.usb("POST", ATTACHMENTS, {"attachment": make_attachment()}, status=202)
    cloud.usb(
        "GET",
        f"{ATTACHMENTS}/{STICK1}",
        {"attachment": make_attachment()},
        {"attachment": make_attachment(state="attached")},
    )
    attachment = usb.create_attachment(DEMO, STICK1, lease=7200)
    assert (attachment.device_id, attachment.server_id, attachment.state) == (STICK1, DEMO, "attaching")
    attached = usb.wait_for_attachment(attachment, interval=0.01)
    assert (attached.state, attached.device.serial) == ("attached", "LABSTICK01")
    body = f'{{"attachment": {{"device_id": "{STICK1}", "lease": 7200}}}}'
    assert asked() == [
        f"POST http://usb{ATTACHMENTS} {body}",
        f"GET http://usb{ATTACHMENTS}/{STICK1}",
        f"GET http://usb{ATTACHMENTS}/{STICK1}",
    ]


def test_attach_one_of_a_kind(usb: Proxy, cloud: Any, asked: Any, make_attachment: Any) -> None:
    cloud.usb("POST", ATTACHMENTS, {"attachment": make_attachment() | {"kind": "stick"}}, status=202)
    assert usb.create_attachment(DEMO, kind="stick").device_id == STICK1
    assert asked() == [f'POST http://usb{ATTACHMENTS} {{"attachment": {{"kind": "stick"}}}}']


@pytest.mark.parametrize("state", ["failed", "waiting"])
def test_an_attachment_that_fails(usb: Proxy, cloud: Any, make_attachment: Any, state: str) -> None:
    cloud.usb("POST", ATTACHMENTS, {"attachment": make_attachment()}, status=202)
    cloud.usb("GET", f"{ATTACHMENTS}/{STICK1}", {"attachment": make_attachment(state=state)})
    attachment = usb.create_attachment(DEMO, STICK1)
    with pytest.raises(exceptions.ResourceFailure):
        usb.wait_for_attachment(attachment, interval=0.01)


def test_the_time_is_up(usb: Proxy, cloud: Any, make_attachment: Any) -> None:
    cloud.usb("GET", f"{ATTACHMENTS}/{STICK1}", {"attachment": make_attachment()})
    attachment = usb.get_attachment(DEMO, STICK1)
    with pytest.raises(exceptions.ResourceTimeout):
        usb.wait_for_attachment(attachment, interval=0.01, wait=0.05)


def test_detach_and_wait(usb: Proxy, cloud: Any, asked: Any, make_attachment: Any) -> None:
    cloud.usb("GET", ATTACHMENTS, {"attachments": [make_attachment(state="attached")]})
    cloud.usb("DELETE", f"{ATTACHMENTS}/{STICK1}", None, status=202)
    cloud.usb_error("GET", f"{ATTACHMENTS}/{STICK1}", 404, "The server has no such device.")
    [attachment] = usb.attachments(DEMO)
    usb.delete_attachment(DEMO, attachment)
    usb.wait_for_delete(attachment, interval=1, wait=5)
    assert asked() == [
        f"GET http://usb{ATTACHMENTS}",
        f"DELETE http://usb{ATTACHMENTS}/{STICK1}",
        f"GET http://usb{ATTACHMENTS}/{STICK1}",
    ]


@pytest.mark.parametrize(("lease", "sent"), [(60, "60"), (None, "null")])
def test_a_lease_is_changed(
    usb: Proxy, cloud: Any, asked: Any, make_attachment: Any, lease: int | None, sent: str
) -> None:
    cloud.usb("PATCH", f"{ATTACHMENTS}/{STICK1}", {"attachment": make_attachment(state="attached")})
    assert usb.update_attachment(DEMO, STICK1, lease).state == "attached"
    assert asked() == [f'PATCH http://usb{ATTACHMENTS}/{STICK1} {{"attachment": {{"lease": {sent}}}}}']


def test_the_queue(usb: Proxy, cloud: Any, asked: Any) -> None:
    entry = {"id": PLACE, "server_id": DEMO, "device_id": STICK1, "place": 2}
    cloud.usb("POST", f"/v1/servers/{DEMO}/queue", {"entry": entry}, status=202)
    cloud.usb("GET", "/v1/queue", {"queue": [entry]})
    cloud.usb("DELETE", f"/v1/servers/{DEMO}/queue/{PLACE}", None, status=204)
    assert usb.join_queue(DEMO, STICK1).place == 2
    usb.join_queue(DEMO, kind="dongle", transport="any")
    [waiting] = usb.queue(server_id=DEMO)
    assert (waiting.id, waiting.server_id) == (PLACE, DEMO)
    usb.leave_queue(waiting)
    assert asked() == [
        f'POST http://usb/v1/servers/{DEMO}/queue {{"entry": {{"device_id": "{STICK1}"}}}}',
        f'POST http://usb/v1/servers/{DEMO}/queue {{"entry": {{"kind": "dongle", "transport": "any"}}}}',
        f"GET http://usb/v1/queue?server_id={DEMO}",
        f"DELETE http://usb/v1/servers/{DEMO}/queue/{PLACE}",
    ]


def test_kinds_and_hosts(usb: Proxy, cloud: Any) -> None:
    cloud.usb("GET", "/v1/kinds", {"kinds": [{"name": "stick", "free": 2, "servers": []}]})
    host = {"host": "usbhost1", "state": "up", "devices": {"available": 1}, "problems": []}
    cloud.usb("GET", "/v1/hosts", {"hosts": [host]})
    cloud.usb("GET", "/v1/hosts/usbhost1", {"host": host})
    cloud.usb("DELETE", "/v1/hosts/usbhost1", None, status=204)
    assert [(kind.name, kind.free) for kind in usb.kinds()] == [("stick", 2)]
    assert [(host.name, host.state) for host in usb.hosts()] == [("usbhost1", "up")]
    assert usb.get_host("usbhost1").devices == {"available": 1}
    usb.delete_host("usbhost1")
    assert cloud.usb_log[-1] == "DELETE http://usb/v1/hosts/usbhost1"
