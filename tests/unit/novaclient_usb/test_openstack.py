# SPDX-License-Identifier: Apache-2.0
"""Transcripts of the real ``openstack`` command: what it prints, what it asks, how it ends."""

from __future__ import annotations

import configparser
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = "3f1c9b0a5d4e4f6f8a7b6c5d4e3f2a1b"
DEMO = "5f8a9a0e-7b0c-4f0e-9a5e-0c9d6b9e6a11"
STICK1 = "8a0c2f5e-95a0-4d0f-8c5b-2f3d0c1f8e01"
STICK2 = "8a0c2f5e-95a0-4d0f-8c5b-2f3d0c1f8e02"
PLACE = "1d6b7c1e-4a43-4d2b-9f3a-6f0c2b7a9e31"

DEVICES = "/v1/devices"
OF_DEMO = f"/v1/devices?server_id={DEMO}"
KINDS = f"/v1/kinds?server_id={DEMO}"
ATTACHMENTS = f"/v1/servers/{DEMO}/attachments"

LSUSB = "Bus 002 Device 003: ID 0781:5567 SanDisk Corp. Cruzer Blade"


@pytest.fixture
def make_attachment(make_device: Any) -> Any:
    def make(lease_until: str | None = None, **device: Any) -> dict[str, Any]:
        return {
            "server_id": DEMO,
            "device_id": STICK1,
            "kind": None,
            "lease_until": lease_until,
            "device": make_device(**{"server_id": DEMO, "state": "attaching", **device}),
        }

    return make


@pytest.fixture
def two_sticks(cloud: Any, make_device: Any) -> None:
    cloud.usb("GET", DEVICES, {"devices": [make_device(), make_device(id=STICK2, serial="LABSTICK02")]})


# openstack usb device


def test_device_list(openstack: Any, cloud: Any, make_device: Any) -> None:
    waiting = {"server_id": DEMO, "state": "waiting", "state_reason": "the server is not running"}
    cloud.usb(
        "GET", DEVICES, {"devices": [make_device(id=STICK2, device=11, serial="", **waiting), make_device()]}
    )
    result = openstack("usb", "device", "list")
    assert (result.status, result.err) == (0, "")
    assert result.out == (
        f"""\
+--------------------------------------+-------------------------------------------------------------+------------+-----------+--------------------------------------+---------------------------+
| ID                                   | Device                                                      | Serial     | State     | Server ID                            | Reason                    |
+--------------------------------------+-------------------------------------------------------------+------------+-----------+--------------------------------------+---------------------------+
| {STICK1} | {LSUSB} | LABSTICK01 | available | None                                 | None                      |
| {STICK2} | Bus 002 Device 011: ID 0781:5567 SanDisk Corp. Cruzer Blade |            | waiting   | {DEMO} | the server is not running |
+--------------------------------------+-------------------------------------------------------------+------------+-----------+--------------------------------------+---------------------------+
"""  # noqa: E501
    )
    assert cloud.usb_log == ["GET http://usb/v1/devices"]


def test_device_list_for_programs(openstack: Any, cloud: Any, make_device: Any) -> None:
    cloud.usb("GET", DEVICES, {"devices": [make_device(name="Größe", kind="stick")]})
    result = openstack("usb", "device", "list", "--long", "-f", "json")
    assert json.loads(result.out) == [
        {
            "ID": STICK1,
            "Device": "Bus 002 Device 003: ID 0781:5567 Größe",
            "Serial": "LABSTICK01",
            "State": "available",
            "Server ID": None,
            "Reason": None,
            "Reason Code": None,
            "Since": "2026-11-23T00:00:00Z",
            "Kind": "stick",
            "Port": "2-1",
            "Speed": "480",
            "Class": "08",
            "Enabled": True,
            "Description": None,
        }
    ]


def test_device_list_tells_an_admin_more(openstack: Any, cloud: Any, make_device: Any) -> None:
    shared = {"project_id": "p1", "shared": False, "projects": ["p1", "p2"], "rule": "1: {}"}
    devices = [make_device(id=STICK2, host="usbhost2"), make_device(host="usbhost1", **shared)]
    cloud.usb("GET", DEVICES, {"devices": devices})
    assert openstack("usb", "device", "list", "-c", "Host", "-f", "value").out == "usbhost1\nusbhost2\n"
    result = openstack("usb", "device", "list", "--long", "-f", "json")
    found = json.loads(result.out)[0]
    assert {key: found[key] for key in list(found)[-5:]} == {
        "Host": "usbhost1",
        "Project ID": "p1",
        "Shared": False,
        "Shared With": ["p1", "p2"],
        "Rule": "1: {}",
    }


def test_device_list_passes_its_filters_on(openstack: Any, cloud: Any, make_device: Any) -> None:
    cloud.usb("GET", DEVICES, {"devices": [make_device()]})
    where = ["--server", "demo", "--host", "usb host", "--state", "waiting", "--kind", "stick"]
    what = ["--vendor-id", "0781", "--product-id", "5567", "--serial", "LABSTICK01"]
    result = openstack(
        "usb", "device", "list", *where, *what, "--project", "other", "--limit", "1", "--marker", STICK2
    )
    assert (result.status, result.err) == (0, "")
    assert cloud.usb_log == [
        (
            f"GET http://usb/v1/devices?limit=1&server_id={DEMO}&host=usb+host&state=waiting&vendor_id=0781"
            f"&product_id=5567&kind=stick&serial=LABSTICK01&project_id={PROJECT}&marker={STICK2}"
        )
    ]


def test_device_list_with_those_of_other_hosts(openstack: Any, cloud: Any, make_device: Any) -> None:
    devices = [make_device(other_host=False), make_device(id=STICK2, device=4, other_host=True)]
    cloud.usb("GET", f"{OF_DEMO}&transport=any", {"devices": devices})
    command = ("usb", "device", "list", "--server", "demo", "--transport", "any")
    result = openstack(*command, "-c", "ID", "-c", "Other Host", "-f", "value")
    assert result.out == f"{STICK1} False\n{STICK2} True\n"
    found = json.loads(openstack(*command, "--long", "-f", "json").out)
    assert [device["Other Host"] for device in found] == [False, True]


def test_device_list_by_transport_to_no_server(openstack: Any, cloud: Any) -> None:
    result = openstack("usb", "device", "list", "--transport", "any")
    assert (result.status, result.out) == (1, "")
    assert "--transport requires --server." in result.err
    assert cloud.usb_log == []


def test_device_list_of_a_host_that_does_not_exist(openstack: Any, cloud: Any) -> None:
    cloud.usb("GET", DEVICES, {"devices": []})
    cloud.usb_error("GET", "/v1/hosts/nosuch", 404, "No USB agent is registered for host nosuch.")
    result = openstack("usb", "device", "list", "--host", "nosuch")
    assert (result.status, result.out) == (1, "")
    assert "No USB agent is registered for host nosuch." in result.err


@pytest.mark.parametrize(
    "arguments",
    [["--state", "lost"], ["--limit", "0"], ["--limit", "many"], ["--transport", "telepathy"]],
)
def test_device_list_with_what_is_none(openstack: Any, cloud: Any, arguments: list[str]) -> None:
    result = openstack("usb", "device", "list", *arguments)
    assert (result.status, result.out) == (2, "")
    assert arguments[1] in result.err
    assert cloud.usb_log == []


@pytest.mark.usefixtures("two_sticks")
def test_device_show(openstack: Any) -> None:
    result = openstack("usb", "device", "show", "LABSTICK01")
    assert (result.status, result.err) == (0, "")
    assert result.out == (
        f"""\
+--------------+--------------------------------------+
| Field        | Value                                |
+--------------+--------------------------------------+
| available    | True                                 |
| bus          | 2                                    |
| created_at   | 2026-11-23T00:00:00+00:00            |
| description  | None                                 |
| device       | 3                                    |
| device_class | 08                                   |
| enabled      | True                                 |
| id           | {STICK1} |
| kind         | None                                 |
| name         | SanDisk Corp. Cruzer Blade           |
| port         | 2-1                                  |
| product      | Cruzer Blade                         |
| product_id   | 5567                                 |
| reason_code  | None                                 |
| serial       | LABSTICK01                           |
| server_id    | None                                 |
| speed        | 480                                  |
| state        | available                            |
| state_reason | None                                 |
| state_since  | 2026-11-23T00:00:00Z                 |
| updated_at   | 2026-11-23T00:00:00+00:00            |
| vendor       | SanDisk                              |
| vendor_id    | 0781                                 |
+--------------+--------------------------------------+
"""
    )


def test_device_show_by_id(openstack: Any, cloud: Any, make_device: Any) -> None:
    cloud.usb("GET", f"{DEVICES}/{STICK1}", {"device": make_device()})
    result = openstack("usb", "device", "show", STICK1.upper(), "-f", "value", "-c", "serial")
    assert (result.status, result.out) == (0, "LABSTICK01\n")
    assert cloud.usb_log == [f"GET http://usb{DEVICES}/{STICK1}"]


def test_device_explain(openstack: Any, cloud: Any) -> None:
    conditions = [
        {"condition": "plugged_in", "met": True, "reason_code": None, "state_reason": None, "note": None},
        {
            "condition": "quota",
            "met": False,
            "reason_code": "quota_exceeded",
            "state_reason": "the quota of the project is used up",
            "note": "2 of 2 are in use",
        },
        {"condition": "host_up", "met": None, "reason_code": None, "state_reason": None, "note": None},
    ]
    cloud.usb(
        "GET",
        f"{DEVICES}/{STICK1}/explain?server_id={DEMO}",
        {"explanation": {"attachable": False, "conditions": conditions}},
    )
    result = openstack("usb", "device", "explain", "--server", "demo", STICK1)
    assert (result.status, result.err) == (0, "")
    assert result.out == (
        """\
+------------+-------+-------------------------------------+----------------+-------------------+
| Condition  | Met   | Reason                              | Reason Code    | Note              |
+------------+-------+-------------------------------------+----------------+-------------------+
| plugged_in | True  | None                                | None           | None              |
| quota      | False | the quota of the project is used up | quota_exceeded | 2 of 2 are in use |
| host_up    | None  | None                                | None           | None              |
+------------+-------+-------------------------------------+----------------+-------------------+
"""
    )


@pytest.mark.usefixtures("two_sticks")
@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (["--description", "in rack 4", "--disable"], '{"description": "in rack 4", "enabled": false}'),
        (["--description", "", "--enable"], '{"description": "", "enabled": true}'),
        (["--share", "--kind", "stick"], '{"shared": true, "kind": "stick"}'),
        (["--no-share", "--no-kind"], '{"shared": false, "kind": ""}'),
    ],
)
def test_device_set(openstack: Any, cloud: Any, make_device: Any, arguments: list[str], changes: str) -> None:
    for stick in (STICK1, STICK2):
        cloud.usb("PATCH", f"{DEVICES}/{stick}", {"device": make_device()})
    result = openstack("usb", "device", "set", *arguments, "LABSTICK01", STICK2)
    assert (result.status, result.out, result.err) == (0, "", "")
    assert cloud.usb_log == [
        "GET http://usb/v1/devices",
        f'PATCH http://usb{DEVICES}/{STICK1} {{"device": {changes}}}',
        f'PATCH http://usb{DEVICES}/{STICK2} {{"device": {changes}}}',
    ]


@pytest.mark.parametrize(("command", "method"), [("set", "PUT"), ("unset", "DELETE")])
def test_device_set_and_unset_of_projects(openstack: Any, cloud: Any, command: str, method: str) -> None:
    cloud.usb(method, f"{DEVICES}/{STICK1}/projects/{PROJECT}", None, status=204)
    result = openstack("usb", "device", command, "--project", "other", STICK1)
    assert (result.status, result.out, result.err) == (0, "", "")
    assert cloud.usb_log == [f"{method} http://usb{DEVICES}/{STICK1}/projects/{PROJECT}"]


def test_device_unset(openstack: Any, cloud: Any, make_device: Any) -> None:
    cloud.usb("PATCH", f"{DEVICES}/{STICK1}", {"device": make_device()})
    result = openstack("usb", "device", "unset", "--description", "--share", "--kind", STICK1)
    assert (result.status, result.out, result.err) == (0, "", "")
    changes = '{"device": {"description": "", "shared": null, "kind": null}}'
    assert cloud.usb_log == [f"PATCH http://usb{DEVICES}/{STICK1} {changes}"]


@pytest.mark.parametrize("command", ["set", "unset"])
def test_device_set_of_nothing(openstack: Any, cloud: Any, command: str) -> None:
    result = openstack("usb", "device", command, STICK1)
    assert (result.status, result.out) == (1, "")
    assert result.err == "No changes specified. Specify at least one option.\n"
    assert cloud.usb_log == []


@pytest.mark.usefixtures("two_sticks")
def test_device_delete(openstack: Any, cloud: Any) -> None:
    for stick in (STICK1, STICK2):
        cloud.usb("DELETE", f"{DEVICES}/{stick}", None, status=204)
    result = openstack("usb", "device", "delete", "LABSTICK01", "LABSTICK02")
    assert (result.status, result.out, result.err) == (0, "", "")
    assert cloud.usb_log == [
        "GET http://usb/v1/devices",
        f"DELETE http://usb{DEVICES}/{STICK1}",
        f"DELETE http://usb{DEVICES}/{STICK2}",
    ]


@pytest.mark.usefixtures("two_sticks")
def test_device_delete_goes_on_after_a_failure(openstack: Any, cloud: Any) -> None:
    cloud.usb_error("DELETE", f"{DEVICES}/{STICK1}", 409, "It is plugged in.", "device_plugged_in")
    cloud.usb("DELETE", f"{DEVICES}/{STICK2}", None, status=204)
    result = openstack("usb", "device", "delete", "LABSTICK01", "nosuch", "LABSTICK02")
    assert (result.status, result.out) == (1, "")
    assert result.err == (
        "Failed to delete 'LABSTICK01': It is plugged in. (HTTP 409) (Request-ID: req-7)\n"
        "Failed to delete 'nosuch': No USB device 'nosuch' was found. 'openstack usb device list' lists the"
        " devices.\n"
        "Failed to delete 2 of 3.\n"
    )
    assert cloud.usb_log[-1] == f"DELETE http://usb{DEVICES}/{STICK2}"


def test_device_release(openstack: Any, cloud: Any, make_device: Any) -> None:
    cloud.usb("POST", f"{DEVICES}/{STICK1}/release", {"device": make_device()})
    result = openstack("usb", "device", "release", STICK1)
    assert (result.status, result.out, result.err) == (0, "", "")
    assert cloud.usb_log == [f"POST http://usb{DEVICES}/{STICK1}/release"]


# openstack usb event, openstack usb device event

EVENT = {
    "id": "e1",
    "device_id": STICK1,
    "device_name": "SanDisk Corp. Cruzer Blade",
    "created_at": "2026-11-23T00:00:01Z",
    "cause": "unplugged",
    "cause_code": "unplugged",
    "state": "waiting",
    "state_reason": "the device is unplugged",
    "reason_code": "unplugged",
    "server_id": DEMO,
    "project_id": "p1",
    "user_id": None,
    "request_id": None,
}


def test_device_event_list(openstack: Any, cloud: Any) -> None:
    cloud.usb("GET", f"{DEVICES}/{STICK1}/events", {"events": [EVENT]})
    result = openstack(
        "usb", "device", "event", "list", STICK1, "--since", "2026-01-31T12:00:00Z", "--limit", "3"
    )
    assert (result.status, result.err) == (0, "")
    assert result.out == (
        f"""\
+----------------------+-----------+---------+-------------------------+--------------------------------------+---------+------------+
| Time                 | Cause     | State   | Reason                  | Server ID                            | User ID | Request ID |
+----------------------+-----------+---------+-------------------------+--------------------------------------+---------+------------+
| 2026-11-23T00:00:01Z | unplugged | waiting | the device is unplugged | {DEMO} | None    | None       |
+----------------------+-----------+---------+-------------------------+--------------------------------------+---------+------------+
"""  # noqa: E501
    )
    assert cloud.usb_log == [
        f"GET http://usb{DEVICES}/{STICK1}/events?limit=3&since=2026-01-31T12%3A00%3A00Z"
    ]


def test_event_list(openstack: Any, cloud: Any) -> None:
    cloud.usb("GET", "/v1/events", {"events": [EVENT | {"host": "usbhost1", "actor_project_id": None}]})
    arguments = ["--device", STICK1, "--server", "demo", "--project", "other", "--long"]
    result = openstack("usb", "event", "list", *arguments, "-f", "json")
    assert (result.status, result.err) == (0, "")
    [event] = json.loads(result.out)
    assert list(event) == [
        *("Time", "Device ID", "Device", "Cause", "State", "Reason", "Server ID", "User ID", "Request ID"),
        *("ID", "Cause Code", "Reason Code", "Project ID", "Host", "Actor Project ID"),
    ]
    assert event["Host"] == "usbhost1"
    assert cloud.usb_log == [
        f"GET http://usb/v1/events?device_id={STICK1}&server_id={DEMO}&project_id={PROJECT}"
    ]


# openstack server ... usb device


def test_add(openstack: Any, cloud: Any, make_device: Any, make_attachment: Any) -> None:
    cloud.usb("GET", OF_DEMO, {"devices": [make_device()]})
    cloud.usb("POST", ATTACHMENTS, {"attachment": make_attachment()}, status=202)
    result = openstack("server", "add", "usb", "device", "demo", "2-1")
    assert (result.status, result.err) == (0, "")
    assert result.out == (
        f"""\
+--------------+-------------------------------------------------------------+
| Field        | Value                                                       |
+--------------+-------------------------------------------------------------+
| device       | {LSUSB} |
| device_id    | {STICK1}                        |
| kind         | None                                                        |
| lease_until  | None                                                        |
| over_network | False                                                       |
| reason_code  | None                                                        |
| server_id    | {DEMO}                        |
| state        | attaching                                                   |
| state_reason | None                                                        |
| transport    | local                                                       |
+--------------+-------------------------------------------------------------+
"""
    )
    assert cloud.usb_log == [
        f"GET http://usb{OF_DEMO}",
        f'POST http://usb{ATTACHMENTS} {{"attachment": {{"device_id": "{STICK1}"}}}}',
    ]


def test_add_over_the_network(openstack: Any, cloud: Any, make_device: Any, make_attachment: Any) -> None:
    """Devices of other hosts match as well."""
    cloud.usb("GET", f"{OF_DEMO}&transport=any", {"devices": [make_device()]})
    attachment = make_attachment() | {"transport": "any", "over_network": True}
    cloud.usb("POST", ATTACHMENTS, {"attachment": attachment}, status=202)
    command = ("server", "add", "usb", "device", "--transport", "any", "demo", "LABSTICK01", "-f", "json")
    shown = json.loads(openstack(*command).out)
    assert (shown["transport"], shown["over_network"]) == ("any", True)
    assert cloud.usb_log == [
        f"GET http://usb{OF_DEMO}&transport=any",
        f'POST http://usb{ATTACHMENTS} {{"attachment": {{"device_id": "{STICK1}", "transport": "any"}}}}',
    ]


def test_add_one_of_a_kind_over_the_network(openstack: Any, cloud: Any, make_attachment: Any) -> None:
    """Or get in line for it."""
    kinds = [{"name": "dongle", "free": 0, "servers": []}]
    cloud.usb("GET", f"/v1/kinds?server_id={DEMO}", {"kinds": kinds})
    attachment = make_attachment() | {"kind": "dongle", "transport": "any", "over_network": True}
    cloud.usb("POST", ATTACHMENTS, {"attachment": attachment}, status=202)
    options = ("--transport", "any", "--queue", "-f", "json")
    command = ("server", "add", "usb", "device", *options, "demo", "dongle")
    shown = json.loads(openstack(*command).out)
    assert (shown["kind"], shown["over_network"]) == ("dongle", True)
    cloud.usb_error("POST", ATTACHMENTS, 409, "None is free.", "kind_not_free")
    entry = ENTRY | {"kind": "dongle", "transport": "any"}
    cloud.usb("POST", f"/v1/servers/{DEMO}/queue", {"entry": entry}, status=202)
    assert json.loads(openstack(*command).out)["transport"] == "any"
    wanted = '{"kind": "dongle", "transport": "any"}'
    assert cloud.usb_log[-2:] == [
        f'POST http://usb{ATTACHMENTS} {{"attachment": {wanted}}}',
        f'POST http://usb/v1/servers/{DEMO}/queue {{"entry": {wanted}}}',
    ]


def test_add_one_of_a_kind_for_a_time(openstack: Any, cloud: Any, make_attachment: Any) -> None:
    cloud.usb("GET", KINDS, {"kinds": [{"name": "stick", "free": 1, "servers": []}]})
    attachment = make_attachment("2026-11-23T02:00:00Z") | {"kind": "stick"}
    cloud.usb("POST", ATTACHMENTS, {"attachment": attachment}, status=202)
    result = openstack("server", "add", "usb", "device", "--for", "2h", DEMO, "stick", "-f", "json")
    shown = json.loads(result.out)
    assert (shown["kind"], shown["lease_until"]) == ("stick", "2026-11-23T02:00:00Z")
    assert cloud.usb_log[-1] == (
        f'POST http://usb{ATTACHMENTS} {{"attachment": {{"kind": "stick", "lease": 7200}}}}'
    )


@pytest.mark.parametrize(("wait", "status"), [([], 0), (["--wait"], 3)])
def test_add_gets_in_line(openstack: Any, cloud: Any, wait: list[str], status: int) -> None:
    cloud.usb_error("POST", ATTACHMENTS, 409, "It is taken.", "device_taken")
    entry = {"id": PLACE, "server_id": DEMO, "device_id": STICK1, "kind": None, "place": 2}
    cloud.usb("POST", f"/v1/servers/{DEMO}/queue", {"entry": entry}, status=202)
    command = ["server", "add", "usb", "device", "--queue", *wait, "demo", STICK1]
    result = openstack(*command, "-f", "value", "-c", "place")
    assert (result.status, result.out, result.err) == (status, "2\n", "")
    assert openstack("server", "add", "usb", "device", "demo", STICK1).status == 1


NAMED = f"{LSUSB} ({STICK1})"


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("last", "status", "message"),
    [
        ({"state": "attached"}, 0, ""),
        (
            {"state": "failed", "state_reason": "no free USB port"},
            1,
            f"{NAMED} could not be attached, its state is failed: no free USB port.\n",
        ),
        (
            {"state": "waiting", "state_reason": "the server is not running"},
            3,
            (
                f"{NAMED} is not attached yet: the server is not running. It is reserved for the server"
                " and will be attached automatically. To cancel this, detach it.\n"
            ),
        ),
        (
            {"state": "attaching"},
            4,
            f"{NAMED} is still attaching after 20 seconds. The operation continues in the background.\n",
        ),
    ],
)
def test_add_and_wait(
    openstack: Any, cloud: Any, make_device: Any, make_attachment: Any, last: Any, status: int, message: str
) -> None:
    cloud.usb("POST", ATTACHMENTS, {"attachment": make_attachment()}, status=202)
    cloud.usb(
        "GET",
        f"{DEVICES}/{STICK1}",
        {"device": make_device(server_id=DEMO, state="attaching")},
        {"device": make_device(server_id=DEMO, **last)},
    )
    command = ["server", "add", "usb", "device", "--wait", "--timeout", "20", "demo", STICK1]
    result = openstack(*command, "-f", "value", "-c", "state")
    assert (result.status, result.err) == (status, message)
    assert result.out == ("" if status == 1 else f"{last['state']}\n")


def test_remove(openstack: Any, cloud: Any, make_device: Any) -> None:
    """Of two sticks of one model it is the one in the server that is meant."""
    cloud.usb("GET", OF_DEMO, {"devices": [make_device(id=STICK2), make_device(server_id=DEMO)]})
    cloud.usb("DELETE", f"{ATTACHMENTS}/{STICK1}", None, status=202)
    result = openstack("server", "remove", "usb", "device", "demo", "0781:5567")
    assert (result.status, result.out, result.err) == (0, "", "")
    assert cloud.usb_log == [f"GET http://usb{OF_DEMO}", f"DELETE http://usb{ATTACHMENTS}/{STICK1}"]


def test_remove_of_what_the_server_has_not(openstack: Any, cloud: Any, make_device: Any) -> None:
    cloud.usb("GET", OF_DEMO, {"devices": [make_device()]})
    result = openstack("server", "remove", "usb", "device", "demo", "LABSTICK01")
    assert (result.status, result.out) == (1, "")
    assert result.err == (
        "No USB device 'LABSTICK01' was found. The server has no such device. 'openstack server usb device"
        " list demo' lists its devices.\n"
    )


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("last", "status", "message"),
    [
        ({"state": "available"}, 0, ""),
        (
            {"server_id": DEMO, "state": "failed", "state_reason": "the guest keeps it"},
            1,
            f"{NAMED} was not detached, its state is failed: the guest keeps it.\n",
        ),
        (
            {"server_id": DEMO, "state": "detaching"},
            4,
            f"{NAMED} is still detaching after 300 seconds. The operation continues in the background.\n",
        ),
    ],
)
def test_remove_and_wait(
    openstack: Any, cloud: Any, make_device: Any, last: Any, status: int, message: str
) -> None:
    cloud.usb("DELETE", f"{ATTACHMENTS}/{STICK1}", None, status=202)
    cloud.usb("GET", f"{DEVICES}/{STICK1}", {"device": make_device(**last)})
    result = openstack("server", "remove", "usb", "device", "--wait", "demo", STICK1)
    assert (result.status, result.out, result.err) == (status, "", message)


@pytest.mark.parametrize("command", ["add", "remove"])
def test_a_timeout_without_a_wait(openstack: Any, cloud: Any, command: str) -> None:
    result = openstack("server", command, "usb", "device", "--timeout", "5", "demo", STICK1)
    assert (result.status, result.out) == (1, "")
    assert result.err == "--timeout requires --wait.\n"
    assert cloud.usb_log == []


def test_server_list(openstack: Any, cloud: Any, make_attachment: Any) -> None:
    attachment = make_attachment("2026-11-23T02:00:00Z", state="attached")
    cloud.usb("GET", ATTACHMENTS, {"attachments": [attachment]})
    result = openstack("server", "usb", "device", "list", "demo")
    assert (result.status, result.err) == (0, "")
    assert result.out == (
        f"""\
+--------------------------------------+-------------------------------------------------------------+------------+----------+--------+----------------------+
| Device ID                            | Device                                                      | Serial     | State    | Reason | Lease Ends           |
+--------------------------------------+-------------------------------------------------------------+------------+----------+--------+----------------------+
| {STICK1} | {LSUSB} | LABSTICK01 | attached | None   | 2026-11-23T02:00:00Z |
+--------------------------------------+-------------------------------------------------------------+------------+----------+--------+----------------------+
"""  # noqa: E501
    )


@pytest.mark.parametrize(("arguments", "lease"), [(["--for", "90m"], "5400"), (["--no-end"], "null")])
def test_server_set(
    openstack: Any, cloud: Any, make_device: Any, make_attachment: Any, arguments: list[str], lease: str
) -> None:
    cloud.usb("GET", OF_DEMO, {"devices": [make_device(server_id=DEMO)]})
    cloud.usb("PATCH", f"{ATTACHMENTS}/{STICK1}", {"attachment": make_attachment("2026-11-23T02:00:00Z")})
    command = ["server", "usb", "device", "set", *arguments, "demo", "LABSTICK01"]
    result = openstack(*command, "-f", "value", "-c", "lease_until")
    assert (result.status, result.out, result.err) == (0, "2026-11-23T02:00:00Z\n", "")
    body = f'{{"attachment": {{"lease": {lease}}}}}'
    assert cloud.usb_log[-1] == f"PATCH http://usb{ATTACHMENTS}/{STICK1} {body}"


# openstack usb queue, kind, host

ENTRY = {
    "id": PLACE,
    "server_id": DEMO,
    "project_id": "p1",
    "device_id": None,
    "kind": "stick",
    "lease": None,
    "place": 2,
    "created_at": "2026-11-23T00:00:00Z",
    "transport": "any",
}


def test_queue_list(openstack: Any, cloud: Any) -> None:
    cloud.usb("GET", "/v1/queue", {"queue": [ENTRY]})
    result = openstack("usb", "queue", "list", "--server", "demo", "--project", "other")
    assert (result.status, result.err) == (0, "")
    assert result.out == (
        f"""\
+--------------------------------------+-------+-----------+-------+--------------------------------------+----------------------+-----------+
| ID                                   | Place | Device ID | Kind  | Server ID                            | Since                | Transport |
+--------------------------------------+-------+-----------+-------+--------------------------------------+----------------------+-----------+
| {PLACE} |     2 | None      | stick | {DEMO} | 2026-11-23T00:00:00Z | any       |
+--------------------------------------+-------+-----------+-------+--------------------------------------+----------------------+-----------+
"""  # noqa: E501
    )
    assert cloud.usb_log == [f"GET http://usb/v1/queue?server_id={DEMO}&project_id={PROJECT}"]


def test_queue_delete(openstack: Any, cloud: Any) -> None:
    cloud.usb("GET", "/v1/queue", {"queue": [ENTRY]})
    cloud.usb("DELETE", f"/v1/servers/{DEMO}/queue/{PLACE}", None, status=204)
    result = openstack("usb", "queue", "delete", "nosuch", PLACE)
    assert (result.status, result.out) == (1, "")
    assert result.err == (
        "Failed to delete 'nosuch': No such queue entry. 'openstack usb queue list' lists the entries.\n"
        "Failed to delete 1 of 2.\n"
    )
    assert cloud.usb_log[-1] == f"DELETE http://usb/v1/servers/{DEMO}/queue/{PLACE}"


def test_kind_list(openstack: Any, cloud: Any) -> None:
    kinds = [{"name": "stick", "free": 3, "servers": [{"server_id": DEMO, "free": 2}]}]
    cloud.usb("GET", "/v1/kinds", {"kinds": kinds})
    assert openstack("usb", "kind", "list", "-f", "value").out == "stick 3\n"
    assert openstack("usb", "kind", "list", "--server", "demo").out == (
        """\
+-------+------+--------------+
| Name  | Free | Free on Host |
+-------+------+--------------+
| stick |    3 |            2 |
+-------+------+--------------+
"""
    )
    assert cloud.usb_log[-1] == f"GET http://usb/v1/kinds?server_id={DEMO}"
    listed = json.loads(openstack("usb", "kind", "list", "--long", "-f", "json").out)
    assert listed == [{"Name": "stick", "Free": 3, "Free by Server": {DEMO: 2}}]


HOST = {
    "host": "usbhost1",
    "state": "up",
    "last_seen": "2026-11-23T00:00:00Z",
    "hypervisor": "QEMU 7.2.22",
    "version": "1.3",
    "problems": ["the clock is off", "an old agent"],
    "devices": {"available": 1, "attached": 2},
}


def test_host_list(openstack: Any, cloud: Any) -> None:
    cloud.usb("GET", "/v1/hosts", {"hosts": [HOST]})
    result = openstack("usb", "host", "list")
    assert (result.status, result.err) == (0, "")
    assert result.out == (
        """\
+----------+-------+----------------------+--------------------------------+
| Host     | State | Last Seen            | Problems                       |
+----------+-------+----------------------+--------------------------------+
| usbhost1 | up    | 2026-11-23T00:00:00Z | an old agent, the clock is off |
+----------+-------+----------------------+--------------------------------+
"""
    )
    [listed] = json.loads(openstack("usb", "host", "list", "--long", "-f", "json").out)
    assert listed["Devices"] == {"available": 1, "attached": 2}
    assert listed["Problems"] == ["the clock is off", "an old agent"]


def test_host_show(openstack: Any, cloud: Any) -> None:
    cloud.usb("GET", "/v1/hosts/usbhost1", {"host": HOST})
    shown = json.loads(openstack("usb", "host", "show", "usbhost1", "-f", "json").out)
    assert shown == HOST


def test_host_delete(openstack: Any, cloud: Any) -> None:
    cloud.usb_error("DELETE", "/v1/hosts/usbhost1", 409, "It is up.", "host_up")
    cloud.usb("DELETE", "/v1/hosts/usbhost2", None, status=204)
    result = openstack("usb", "host", "delete", "usbhost1", "usbhost2")
    assert result.err == (
        "Failed to delete 'usbhost1': It is up. (HTTP 409) (Request-ID: req-7)\nFailed to delete 1 of 2.\n"
    )
    assert (result.status, len(cloud.usb_log)) == (1, 2)


# What all have in common


def test_every_command_of_the_plugin_has_a_help(openstack: Any) -> None:
    file = configparser.ConfigParser()
    file.read(Path(__file__).parents[3] / "setup.cfg")
    lines = file["entry_points"]["openstack.usb_passthrough.v1"].strip().splitlines()
    commands = [line.split(" = ")[0].replace("_", " ") for line in lines]
    assert len(commands) == 19
    for command in commands:
        result = openstack(*command.split(), "--help")
        assert result.status == 0
        assert f" {command} [-h]" in result.out.splitlines()[0]


@pytest.mark.parametrize(
    "command",
    [
        "server add usb device nowhere 2:3",
        "server remove usb device nowhere 2:3",
        "server usb device list nowhere",
        "usb device list --server nowhere",
    ],
)
def test_a_server_that_does_not_exist(openstack: Any, cloud: Any, command: str) -> None:
    result = openstack(*command.split())
    assert (result.status, result.out, cloud.usb_log) == (1, "", [])
    assert "nowhere" in result.err


def test_a_server_of_another_project(openstack: Any, cloud: Any) -> None:
    cloud.usb("GET", ATTACHMENTS, {"attachments": []})
    assert openstack("server", "usb", "device", "list", "--all-projects", "demo").status == 0
    asked = [request.url for request in cloud.mocker.request_history if "name=demo" in request.url]
    assert asked == ["http://nova/v2.1/servers/detail?name=demo&all_tenants=True"]


def test_a_project_that_does_not_exist(openstack: Any, cloud: Any) -> None:
    cloud.mocker.get("http://keystone/v3/projects/nosuch", status_code=404)
    cloud.mocker.get("http://keystone/v3/projects?name=nosuch", json={"projects": []})
    result = openstack("usb", "device", "set", "--project", "nosuch", STICK1)
    assert (result.status, cloud.usb_log) == (1, [])
    assert result.err == "No Project found for nosuch\n"


def test_a_project_that_one_may_not_look_for(openstack: Any, cloud: Any) -> None:
    for path in (f"projects/{PROJECT}", f"projects?name={PROJECT}"):
        cloud.mocker.get(f"http://keystone/v3/{path}", status_code=403)
    cloud.usb("GET", DEVICES, {"devices": []})
    assert openstack("usb", "device", "list", "--project", PROJECT).status == 0
    assert cloud.usb_log == [f"GET http://usb{DEVICES}?project_id={PROJECT}"]


def test_two_matches_are_listed(openstack: Any, cloud: Any, make_device: Any) -> None:
    twins = [make_device(), make_device(id=STICK2, device=4, serial="LABSTICK02")]
    cloud.usb("GET", DEVICES, {"devices": twins})
    result = openstack("usb", "device", "show", "0781:5567")
    assert result.err == (
        f"""\
2 USB devices match '0781:5567'. Use one of these IDs:
  {STICK1}  Bus 002 Device 003: ID 0781:5567 SanDisk Corp. Cruzer Blade (serial LABSTICK01)
  {STICK2}  Bus 002 Device 004: ID 0781:5567 SanDisk Corp. Cruzer Blade (serial LABSTICK02)
"""
    )
    assert result.status == 1


def test_a_cloud_without_the_service(openstack: Any, cloud: Any) -> None:
    cloud.set_catalog("compute")
    result = openstack("usb", "device", "list")
    assert (result.status, result.out) == (1, "")
    assert "The service catalog has no usb-passthrough endpoint" in result.err


@pytest.mark.parametrize(
    ("options", "version"),
    [([], "1.0"), (["1"], "1.0"), (["1.7"], "1.7")],
)
def test_the_version_that_is_asked_for(openstack: Any, cloud: Any, options: list[str], version: str) -> None:
    cloud.usb("GET", DEVICES, {"devices": []})
    option = ["--os-usb-passthrough-api-version", *options] if options else []
    assert openstack(*option, "usb", "device", "list").status == 0
    headers = cloud.usb_requests[0].headers
    assert headers["OpenStack-API-Version"] == f"usb-passthrough {version}"


def test_the_endpoint_that_is_asked(openstack: Any, cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.mocker.get("http://usb-internal/v1/devices", json={"devices": []})
    assert openstack("--os-interface", "internal", "usb", "device", "list").status == 0
    assert cloud.usb_log == ["GET http://usb-internal/v1/devices"]
    elsewhere = openstack("--os-region-name", "R2", "usb", "device", "list")
    assert "region R2" in elsewhere.err
    monkeypatch.setenv("OS_USB_PASSTHROUGH_ENDPOINT_OVERRIDE", "http://usb-near/v1")
    cloud.mocker.get("http://usb-near/v1/devices", json={"devices": []})
    assert openstack("usb", "device", "list").status == 0
    assert cloud.usb_log[-1] == "GET http://usb-near/v1/devices"


HOSTILE = "\x1b[2J\u202eevil\r\n| \\n forged | \x9b\u2028\ud800<script>' OR 1=1 %s {0}"
HARMLESS = "\ufffd[2J\ufffdevil\ufffd\ufffd| \\n forged | \ufffd\ufffd\ufffd<script>' OR 1=1 %s {0}"
HOSTILE_STRINGS = {"name": HOSTILE, "vendor": HOSTILE, "product": HOSTILE, "serial": HOSTILE}


@pytest.mark.usefixtures("clock")
def test_strings_of_a_hostile_device_are_shown_harmless(
    openstack: Any, cloud: Any, make_attachment: Any
) -> None:
    attachment = make_attachment(**HOSTILE_STRINGS, state="failed", state_reason=HOSTILE)
    device = attachment["device"]
    cloud.usb("GET", DEVICES, {"devices": [device, device | {"id": STICK2}]})
    cloud.usb("GET", f"{DEVICES}/{STICK1}", {"device": device})
    cloud.usb("POST", ATTACHMENTS, {"attachment": attachment}, status=202)
    cloud.usb("GET", ATTACHMENTS, {"attachments": [attachment]})
    texts = [
        openstack("usb", "device", "list").out,
        openstack("usb", "device", "list", "-f", "value").out,
        openstack("usb", "device", "show", STICK1).out,
        openstack("usb", "device", "show", HARMLESS).err,
        openstack("server", "usb", "device", "list", "demo", "-f", "value").out,
        openstack("server", "add", "usb", "device", "demo", STICK1).out,
        openstack("server", "add", "usb", "device", "--wait", "demo", STICK1).err,
    ]
    cloud.usb_error("GET", DEVICES, 409, HOSTILE)
    texts.append(openstack("usb", "device", "list").err)
    for text in texts:
        assert HARMLESS in text
        assert not set(text) & set("\x1b\u202e\x9b\u2028\ud800")


def test_a_terminal_that_lacks_the_characters(
    openstack: Any, cloud: Any, make_device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = make_device(name="Größe \u4e2d")
    cloud.usb("GET", DEVICES, {"devices": [device]})
    cloud.usb("GET", f"{DEVICES}/{STICK1}", {"device": device})
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", terminal)
    listed = openstack("usb", "device", "list")
    shown = openstack("usb", "device", "show", STICK1)
    assert (listed.status, shown.status) == (0, 0)
    terminal.flush()
    printed = terminal.buffer.getvalue().decode("latin-1")
    assert printed.count("Größe ?") == 2
