# SPDX-License-Identifier: Apache-2.0
"""Transcripts of the real ``nova`` command: what it prints, what it asks, how it ends."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

DEMO = "5f8a9a0e-7b0c-4f0e-9a5e-0c9d6b9e6a11"
DEMO2 = "5f8a9a0e-7b0c-4f0e-9a5e-0c9d6b9e6a12"
STICK1 = "8a0c2f5e-95a0-4d0f-8c5b-2f3d0c1f8e01"
STICK2 = "8a0c2f5e-95a0-4d0f-8c5b-2f3d0c1f8e02"

DEVICES = "/v1/devices"
OF_DEMO = f"/v1/devices?server_id={DEMO}"
ATTACHMENTS = f"/v1/servers/{DEMO}/attachments"


@pytest.fixture
def attaching(cloud: Any, make_device: Any) -> None:
    """One stick on the host of the server; asking for it is granted."""
    cloud.usb("GET", OF_DEMO, {"devices": [make_device()]})
    device = make_device(server_id=DEMO, state="attaching")
    attachment = {"server_id": DEMO, "device_id": STICK1, "device": device}
    cloud.usb("POST", ATTACHMENTS, {"attachment": attachment}, status=202)


@pytest.fixture
def detaching(cloud: Any, make_device: Any) -> None:
    """The server has the stick; giving it back is granted."""
    cloud.usb("GET", OF_DEMO, {"devices": [make_device(server_id=DEMO, state="attached")]})
    cloud.usb("DELETE", f"{ATTACHMENTS}/{STICK1}", None, status=202)


def test_list(nova: Any, cloud: Any, make_device: Any) -> None:
    cloud.usb(
        "GET",
        DEVICES,
        {
            "devices": [
                make_device(
                    id=STICK2,
                    device=11,
                    serial="",
                    server_id=DEMO,
                    state="waiting",
                    state_reason="the server is off",
                ),
                make_device(),
            ]
        },
    )
    result = nova("usb-list")
    assert result.err == ""
    assert result.status == 0
    assert result.out == (
        f"""\
+--------------------------------------+-------------------------------------------------------------+------------+-----------+--------------------------------------+-------------------+
| ID                                   | Device                                                      | Serial     | State     | Server                               | Reason            |
+--------------------------------------+-------------------------------------------------------------+------------+-----------+--------------------------------------+-------------------+
| {STICK1} | Bus 002 Device 003: ID 0781:5567 SanDisk Corp. Cruzer Blade | LABSTICK01 | available | -                                    | -                 |
| {STICK2} | Bus 002 Device 011: ID 0781:5567 SanDisk Corp. Cruzer Blade | -          | waiting   | {DEMO} | the server is off |
+--------------------------------------+-------------------------------------------------------------+------------+-----------+--------------------------------------+-------------------+
"""  # noqa: E501
    )
    assert cloud.usb_log == ["GET http://usb/v1/devices"]


def test_list_tells_an_admin_the_hosts(nova: Any, cloud: Any, make_device: Any) -> None:
    devices = [make_device(id=STICK2, host="usbhost2"), make_device(host="usbhost1", device=9)]
    cloud.usb("GET", DEVICES, {"devices": devices})
    lines = nova("usb-list").out.splitlines()
    assert lines[1].split("|")[-2].strip() == "Host"
    assert [line.split("|")[-2].strip() for line in lines[3:5]] == ["usbhost1", "usbhost2"]


def test_list_passes_its_filters_on(nova: Any, cloud: Any, make_device: Any) -> None:
    cloud.usb("GET", DEVICES, {"devices": [make_device()]})
    result = nova("usb-list", "--server", "demo", "--host", "usb host", "--state", "waiting")
    assert (result.status, result.err) == (0, "")
    assert cloud.usb_log == [f"GET http://usb/v1/devices?server_id={DEMO}&host=usb+host&state=waiting"]


def test_list_with_those_of_other_hosts(nova: Any, cloud: Any, make_device: Any) -> None:
    devices = [make_device(other_host=False), make_device(id=STICK2, device=4, other_host=True)]
    cloud.usb("GET", DEVICES, {"devices": devices})
    lines = nova("usb-list", "--server", "demo", "--transport", "any").out.splitlines()
    shown = [line.split("|")[-2].strip() for line in (lines[1], lines[3], lines[4])]
    assert shown == ["Other Host", "False", "True"]
    assert cloud.usb_log == [f"GET http://usb/v1/devices?server_id={DEMO}&transport=any"]


def test_list_by_transport_to_no_server(nova: Any, cloud: Any) -> None:
    result = nova("usb-list", "--transport", "any")
    assert (result.status, result.out) == (1, "")
    assert "--transport requires --server." in result.err
    assert cloud.usb_log == []


def test_list_of_a_host_without_devices(nova: Any, cloud: Any) -> None:
    cloud.usb("GET", DEVICES, {"devices": []})
    cloud.usb("GET", "/v1/hosts/usbhost1", {"host": {"host": "usbhost1"}})
    cloud.usb_error("GET", "/v1/hosts/nosuch", 404, "No USB agent is registered for host nosuch.")
    assert nova("usb-list", "--host", "usbhost1").status == 0
    result = nova("usb-list", "--host", "nosuch")
    assert (result.status, result.out) == (1, "")
    assert "No USB agent is registered for host nosuch." in result.err


def test_list_of_all_pages(nova: Any, cloud: Any, make_device: Any) -> None:
    following = [{"rel": "next", "href": f"https://elsewhere/v1/devices?state=available&marker={STICK1}"}]
    cloud.usb(
        "GET",
        DEVICES,
        {"devices": [make_device()], "devices_links": following},
        {"devices": [make_device(id=STICK2, device=4)]},
    )
    result = nova("usb-list", "--state", "available")
    assert STICK1 in result.out
    assert STICK2 in result.out
    assert cloud.usb_log == [
        "GET http://usb/v1/devices?state=available",
        f"GET http://usb/v1/devices?state=available&marker={STICK1}",
    ]


def test_show(nova: Any, cloud: Any, make_device: Any) -> None:
    cloud.usb("GET", DEVICES, {"devices": [make_device(), make_device(id=STICK2, serial="LABSTICK02")]})
    result = nova("usb-show", "LABSTICK01")
    assert result.err == ""
    assert result.status == 0
    assert result.out == (
        f"""\
+--------------+--------------------------------------+
| Property     | Value                                |
+--------------+--------------------------------------+
| available    | True                                 |
| bus          | 2                                    |
| created_at   | 2026-11-23T00:00:00+00:00            |
| description  | -                                    |
| device       | 3                                    |
| device_class | 08                                   |
| enabled      | True                                 |
| id           | {STICK1} |
| kind         | -                                    |
| name         | SanDisk Corp. Cruzer Blade           |
| port         | 2-1                                  |
| product      | Cruzer Blade                         |
| product_id   | 5567                                 |
| reason_code  | -                                    |
| serial       | LABSTICK01                           |
| server_id    | -                                    |
| speed        | 480                                  |
| state        | available                            |
| state_reason | -                                    |
| state_since  | 2026-11-23T00:00:00Z                 |
| updated_at   | 2026-11-23T00:00:00+00:00            |
| vendor       | SanDisk                              |
| vendor_id    | 0781                                 |
+--------------+--------------------------------------+
"""
    )


@pytest.mark.usefixtures("attaching")
@pytest.mark.parametrize(
    "wanted", ["SanDisk Corp. Cruzer Blade", "0781:5567", "LABSTICK01", "2-1", "002:003", "2:3"]
)
def test_attach(nova: Any, cloud: Any, wanted: str) -> None:
    result = nova("usb-attach", "demo", wanted)
    assert result.err == ""
    assert result.status == 0
    assert result.out == (
        f"""\
+--------------+-------------------------------------------------------------+
| Property     | Value                                                       |
+--------------+-------------------------------------------------------------+
| device       | Bus 002 Device 003: ID 0781:5567 SanDisk Corp. Cruzer Blade |
| device_id    | {STICK1}                        |
| server_id    | {DEMO}                        |
| state        | attaching                                                   |
| state_reason | -                                                           |
+--------------+-------------------------------------------------------------+
"""
    )
    assert cloud.usb_log == [
        f"GET http://usb{OF_DEMO}",
        f'POST http://usb{ATTACHMENTS} {{"attachment": {{"device_id": "{STICK1}"}}}}',
    ]


@pytest.mark.usefixtures("attaching")
def test_an_id_needs_no_list(nova: Any, cloud: Any, make_device: Any) -> None:
    cloud.usb("GET", f"/v1/devices/{STICK1}", {"device": make_device()})
    cloud.usb("GET", f"/v1/devices/{STICK1}/events", {"events": []})
    cloud.usb("DELETE", f"{ATTACHMENTS}/{STICK1}", None, status=202)
    for command in ("usb-show", "usb-events"):
        assert nova(command, STICK1.upper()).status == 0
    for command in ("usb-attach", "usb-detach"):
        assert nova(command, "demo", STICK1.upper()).status == 0
    assert cloud.usb_log == [
        f"GET http://usb/v1/devices/{STICK1}",
        f"GET http://usb/v1/devices/{STICK1}/events",
        f'POST http://usb{ATTACHMENTS} {{"attachment": {{"device_id": "{STICK1}"}}}}',
        f"DELETE http://usb{ATTACHMENTS}/{STICK1}",
    ]


KINDS = f"/v1/kinds?server_id={DEMO}"


@pytest.mark.usefixtures("attaching")
def test_attach_one_of_a_kind(nova: Any, cloud: Any) -> None:
    """Though a device bears the name of the kind as its serial number."""
    cloud.usb("GET", KINDS, {"kinds": [{"name": "hasp-dongle", "free": 1, "servers": []}]})
    result = nova("usb-attach", "demo", "hasp-dongle")
    assert (result.status, result.err) == (0, "")
    assert cloud.usb_log == [
        f"GET http://usb{KINDS}",
        f'POST http://usb{ATTACHMENTS} {{"attachment": {{"kind": "hasp-dongle"}}}}',
    ]


def test_what_could_be_a_kind_and_is_none(nova: Any, cloud: Any, make_device: Any) -> None:
    cloud.usb("GET", KINDS, {"kinds": []})
    device = make_device(serial="a1b2c3")
    cloud.usb("GET", OF_DEMO, {"devices": [device]})
    attachment = {"server_id": DEMO, "device_id": STICK1, "device": device}
    cloud.usb("POST", ATTACHMENTS, {"attachment": attachment}, status=202)
    assert nova("usb-attach", "demo", "a1b2c3").status == 0
    assert cloud.usb_log[-1] == (
        f'POST http://usb{ATTACHMENTS} {{"attachment": {{"device_id": "{STICK1}"}}}}'
    )


@pytest.mark.usefixtures("attaching")
@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5m", 300), ("2h", 7200), ("7d", 604800)])
def test_attach_for_a_time(nova: Any, cloud: Any, text: str, seconds: int) -> None:
    result = nova("usb-attach", "--for", text, "demo", "2:3")
    assert (result.status, result.err) == (0, "")
    body = f'{{"attachment": {{"device_id": "{STICK1}", "lease": {seconds}}}}}'
    assert cloud.usb_log[-1] == f"POST http://usb{ATTACHMENTS} {body}"


@pytest.mark.parametrize("text", ["", "0h", "2", "h", "-1h", "1w", "1.5h"])
def test_what_is_no_time(nova: Any, cloud: Any, text: str) -> None:
    result = nova("usb-attach", f"--for={text}", "demo", "2:3")
    assert result.status == 2
    assert "use a number and s, m, h or d, for example 2h" in result.err
    assert cloud.usb_log == []


QUEUE = f"/v1/servers/{DEMO}/queue"
ENTRY = {"id": "7", "server_id": DEMO, "project_id": "p", "device_id": STICK1, "kind": None, "lease": 7200}
ENTRY |= {"place": 3, "created_at": "2026-01-31T12:00:00Z"}


@pytest.mark.parametrize("code", ["device_taken", "kind_not_free", "queued_for_others"])
def test_attach_or_get_in_line(nova: Any, cloud: Any, make_device: Any, code: str) -> None:
    cloud.usb("GET", OF_DEMO, {"devices": [make_device()]})
    cloud.usb_error("POST", ATTACHMENTS, 409, "It is taken.", code)
    cloud.usb("POST", QUEUE, {"entry": ENTRY}, status=202)
    result = nova("usb-attach", "--queue", "--for", "2h", "demo", "2:3")
    assert (result.status, result.err) == (0, "")
    assert "| place      | 3 " in result.out
    body = f'{{"entry": {{"device_id": "{STICK1}", "lease": 7200}}}}'
    assert cloud.usb_log[-1] == f"POST http://usb{QUEUE} {body}"


def test_attach_one_of_a_kind_over_the_network_or_get_in_line(nova: Any, cloud: Any) -> None:
    cloud.usb("GET", f"/v1/kinds?server_id={DEMO}", {"kinds": [{"name": "dongle", "free": 0, "servers": []}]})
    cloud.usb_error("POST", ATTACHMENTS, 409, "None is free.", "kind_not_free")
    entry = ENTRY | {"device_id": None, "kind": "dongle", "transport": "any"}
    cloud.usb("POST", QUEUE, {"entry": entry}, status=202)
    result = nova("usb-attach", "--transport", "any", "--queue", "demo", "dongle")
    assert (result.status, result.err) == (0, "")
    assert "| transport  | any " in result.out
    wanted = '{"kind": "dongle", "transport": "any"}'
    assert cloud.usb_log[-2:] == [
        f'POST http://usb{ATTACHMENTS} {{"attachment": {wanted}}}',
        f'POST http://usb{QUEUE} {{"entry": {wanted}}}',
    ]


def test_a_line_helps_with_what_is_taken_only(nova: Any, cloud: Any, make_device: Any) -> None:
    cloud.usb("GET", OF_DEMO, {"devices": [make_device()]})
    cloud.usb_error("POST", ATTACHMENTS, 409, "Server demo is locked.", "server_locked")
    result = nova("usb-attach", "--queue", "demo", "2:3")
    assert result.status == 1
    assert "Server demo is locked." in result.err


@pytest.mark.usefixtures("attaching")
def test_attach_and_wait(nova: Any, cloud: Any, make_device: Any, clock: Any) -> None:
    cloud.usb(
        "GET",
        f"/v1/devices/{STICK1}",
        {"device": make_device(server_id=DEMO, state="attaching")},
        {"device": make_device(server_id=DEMO, state="attaching")},
        {"device": make_device(server_id=DEMO, state="attached")},
    )
    result = nova("usb-attach", "--wait", "demo", "2:3")
    assert result.err == ""
    assert result.status == 0
    assert result.out == (
        f"""\
+--------------+-------------------------------------------------------------+
| Property     | Value                                                       |
+--------------+-------------------------------------------------------------+
| device       | Bus 002 Device 003: ID 0781:5567 SanDisk Corp. Cruzer Blade |
| device_id    | {STICK1}                        |
| server_id    | {DEMO}                        |
| state        | attached                                                    |
| state_reason | -                                                           |
+--------------+-------------------------------------------------------------+
"""
    )
    assert clock.pauses == [0.03, pytest.approx(0.033)]


NAMED = f"Bus 002 Device 003: ID 0781:5567 SanDisk Corp. Cruzer Blade ({STICK1})"


@pytest.mark.usefixtures("attaching", "clock")
@pytest.mark.parametrize(
    ("last", "kind", "status", "message"),
    [
        (
            {"server_id": DEMO, "state": "failed", "state_reason": "libvirt: no free USB port."},
            "WaitFailed",
            1,
            "could not be attached, its state is failed: libvirt: no free USB port.",
        ),
        (
            {"server_id": DEMO, "state": "waiting", "state_reason": "the server is off"},
            "Waiting",
            3,
            (
                "is not attached yet: the server is off. It is reserved for the server and will be attached"
                " automatically. To cancel this, detach it."
            ),
        ),
        (
            {"server_id": None, "state": "available"},
            "WaitFailed",
            1,
            "was detached from the server before the attach completed.",
        ),
        (
            {"server_id": DEMO2, "state": "attached"},
            "WaitFailed",
            1,
            "was detached from the server before the attach completed.",
        ),
        (
            {"server_id": DEMO, "state": "attaching"},
            "TimedOut",
            4,
            "is still attaching after 20 seconds. The operation continues in the background.",
        ),
    ],
)
def test_attach_and_wait_in_vain(
    nova: Any, cloud: Any, make_device: Any, last: dict[str, Any], kind: str, status: int, message: str
) -> None:
    cloud.usb(
        "GET",
        f"/v1/devices/{STICK1}",
        {"device": make_device(server_id=DEMO, state="attaching")},
        {"device": make_device(**last)},
    )
    result = nova("usb-attach", "--wait", "--timeout", "20", "demo", "2:3")
    assert result.err == f"ERROR ({kind}): {NAMED} {message}\n"
    assert result.status == status
    # What is not refused is told as well.
    assert (last["state"] in result.out) == (status in (3, 4))


@pytest.mark.usefixtures("attaching", "clock")
def test_progress_is_for_terminals(
    nova: Any, cloud: Any, make_device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.usb(
        "GET",
        f"/v1/devices/{STICK1}",
        {"device": make_device(server_id=DEMO, state="attaching")},
        {"device": make_device(server_id=DEMO, state="attached")},
    )
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    result = nova("usb-attach", "--wait", "demo", "2:3")
    assert result.err == "\rUSB device attaching: attaching  \rUSB device attaching: attached   \n"
    assert "attaching" not in result.out


@pytest.mark.parametrize("timeout", ["0", "-1", "soon", "1.5"])
def test_a_timeout_that_is_none(nova: Any, timeout: str) -> None:
    result = nova("usb-attach", "--wait", f"--timeout={timeout}", "demo", "2:3")
    assert result.status == 2
    assert "error: argument --timeout: " in result.err
    assert timeout in result.err


@pytest.mark.parametrize("command", ["usb-attach", "usb-detach"])
def test_a_timeout_without_a_wait(nova: Any, cloud: Any, command: str) -> None:
    result = nova(command, "--timeout", "5", "demo", "2:3")
    assert (result.status, result.err) == (1, "ERROR (CommandError): --timeout requires --wait.\n")
    assert cloud.usb_log == []


@pytest.mark.usefixtures("detaching")
def test_detach(nova: Any, cloud: Any) -> None:
    result = nova("usb-detach", "demo", "LABSTICK01")
    assert (result.status, result.out, result.err) == (0, "", "")
    assert cloud.usb_log == [
        f"GET http://usb{OF_DEMO}",
        f"DELETE http://usb{ATTACHMENTS}/{STICK1}",
    ]


@pytest.mark.usefixtures("detaching", "clock")
def test_detach_and_wait(nova: Any, cloud: Any, make_device: Any) -> None:
    cloud.usb(
        "GET",
        f"/v1/devices/{STICK1}",
        {"device": make_device(server_id=DEMO, state="detaching")},
        {"device": make_device(state="available")},
    )
    result = nova("usb-detach", "--wait", "demo", "LABSTICK01")
    assert (result.status, result.err) == (0, "")
    assert result.out == ""


@pytest.mark.usefixtures("detaching", "clock")
def test_detach_and_wait_for_a_device_that_is_gone_then(nova: Any, cloud: Any) -> None:
    cloud.usb_error("GET", f"/v1/devices/{STICK1}", 404, "There is no such device.")
    result = nova("usb-detach", "--wait", "demo", "LABSTICK01")
    assert (result.status, result.out, result.err) == (0, "", "")


@pytest.mark.usefixtures("detaching", "clock")
def test_detach_and_wait_in_vain(nova: Any, cloud: Any, make_device: Any) -> None:
    refused = make_device(server_id=DEMO, state="failed", state_reason="the guest keeps it")
    cloud.usb("GET", f"/v1/devices/{STICK1}", {"device": refused})
    result = nova("usb-detach", "--wait", "demo", "LABSTICK01")
    assert result.err == (
        f"ERROR (WaitFailed): {NAMED} was not detached, its state is failed: the guest keeps it.\n"
    )
    assert result.status == 1


def test_detach_takes_only_what_the_server_has(nova: Any, cloud: Any, make_device: Any) -> None:
    """Of two sticks of one model it is the one in the server that is meant, plugged in or not."""
    own = make_device(server_id=DEMO, state="waiting", state_reason="unplugged", bus=None, device=None)
    others = [make_device(id=STICK2), make_device(id=STICK2, server_id=DEMO2)]
    cloud.usb("GET", OF_DEMO, {"devices": [*others, own]})
    cloud.usb("DELETE", f"{ATTACHMENTS}/{STICK1}", None, status=202)
    assert nova("usb-detach", "demo", "0781:5567").status == 0
    assert cloud.usb_log[-1] == f"DELETE http://usb{ATTACHMENTS}/{STICK1}"


def test_detach_of_what_the_server_has_not(nova: Any, cloud: Any, make_device: Any) -> None:
    cloud.usb("GET", OF_DEMO, {"devices": [make_device()]})
    result = nova("usb-detach", "demo", "LABSTICK01")
    assert result.err == (
        "ERROR (DeviceNotFound): No USB device 'LABSTICK01' was found. The server has no such device."
        " 'nova usb-list --server demo' lists its devices.\n"
    )
    assert result.status == 1


@pytest.mark.parametrize("command", ["usb-attach", "usb-detach"])
def test_two_matches_are_listed(nova: Any, cloud: Any, make_device: Any, command: str) -> None:
    twins = [
        make_device(server_id=DEMO),
        make_device(id=STICK2, device=4, serial="LABSTICK02", server_id=DEMO),
    ]
    cloud.usb("GET", OF_DEMO, {"devices": twins})
    result = nova(command, "demo", "0781:5567")
    assert result.err == (
        f"""\
ERROR (AmbiguousDevice): 2 USB devices match '0781:5567'. Use one of these IDs:
  {STICK1}  Bus 002 Device 003: ID 0781:5567 SanDisk Corp. Cruzer Blade (serial LABSTICK01)
  {STICK2}  Bus 002 Device 004: ID 0781:5567 SanDisk Corp. Cruzer Blade (serial LABSTICK02)
"""
    )
    assert result.status == 1
    assert len(cloud.usb_log) == 1


def test_a_device_that_does_not_exist(nova: Any, cloud: Any) -> None:
    cloud.usb("GET", DEVICES, {"devices": []})
    shown = nova("usb-show", "9:9")
    attached = nova("usb-attach", "demo", "9:9")
    assert shown.err == (
        "ERROR (DeviceNotFound): No USB device '9:9' was found. 'nova usb-list' lists the devices.\n"
    )
    assert attached.err == (
        "ERROR (DeviceNotFound): No USB device '9:9' was found. 'nova usb-list --server demo' lists the"
        " devices of its host.\n"
    )
    assert (shown.status, attached.status) == (1, 1)


@pytest.mark.parametrize(
    "command",
    [["usb-attach", "nowhere", "2:3"], ["usb-detach", "nowhere", "2:3"], ["usb-list", "--server=nowhere"]],
)
def test_a_server_that_does_not_exist(nova: Any, cloud: Any, command: list[str]) -> None:
    result = nova(*command)
    assert result.err == "ERROR (CommandError): No server with a name or ID of 'nowhere' exists.\n"
    assert result.status == 1
    assert cloud.usb_log == []


def test_an_administrator_names_a_server_of_another_project(nova: Any, cloud: Any) -> None:
    nova_api = "http://nova/v2.1"
    server = {"id": DEMO, "name": "theirs"}
    for path in ("servers", "servers/detail"):
        cloud.mocker.get(f"{nova_api}/{path}?name=theirs", json={"servers": []})
        cloud.mocker.get(f"{nova_api}/{path}?all_tenants=True&name=theirs", json={"servers": [server]})
        cloud.mocker.get(f"{nova_api}/{path}?all_tenants=1&name=theirs", json={"servers": [server]})
    cloud.mocker.get(f"{nova_api}/servers/{DEMO}", json={"server": server})
    cloud.usb("GET", OF_DEMO, {"devices": []})
    assert nova("usb-list", "--server", "theirs").status == 0
    assert cloud.usb_log == [f"GET http://usb{OF_DEMO}"]


def test_who_may_not_look_for_it_is_told_that_there_is_none(nova: Any, cloud: Any) -> None:
    refusal = {"forbidden": {"code": 403, "message": "Policy does not allow all_tenants."}}
    cloud.mocker.get("http://nova/v2.1/servers?name=theirs", json={"servers": []})
    cloud.mocker.get("http://nova/v2.1/servers?all_tenants=True&name=theirs", status_code=403, json=refusal)
    cloud.mocker.get("http://nova/v2.1/servers?all_tenants=1&name=theirs", status_code=403, json=refusal)
    result = nova("usb-list", "--server", "theirs")
    assert result.err == "ERROR (CommandError): No server with a name or ID of 'theirs' exists.\n"
    assert (result.status, cloud.usb_log) == (1, [])


@pytest.mark.usefixtures("attaching", "detaching")
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, "BadRequest"),
        (403, "Forbidden"),
        (404, "NotFound"),
        (409, "Conflict"),
        (503, "ServiceUnavailable"),
    ],
)
@pytest.mark.parametrize(
    ("command", "method", "path"),
    [
        (["usb-list"], "GET", DEVICES),
        (["usb-show", "2:3"], "GET", DEVICES),
        (["usb-attach", "--wait", "demo", "2:3"], "POST", ATTACHMENTS),
        (["usb-detach", "--wait", "demo", "2:3"], "DELETE", f"{ATTACHMENTS}/{STICK1}"),
    ],
)
def test_what_the_service_says_reaches_the_user(
    nova: Any, cloud: Any, command: list[str], method: str, path: str, code: int, kind: str
) -> None:
    message = "SanDisk Corp. Cruzer Blade is taken; 'nova usb-list' shows what is free. 100 % sure: ü"
    cloud.usb_error(method, path, code, message)
    result = nova(*command)
    assert result.err == f"ERROR ({kind}): {message} (HTTP {code}) (Request-ID: req-7)\n"
    assert (result.status, result.out) == (1, "")


def test_a_cloud_without_the_service(nova: Any, cloud: Any) -> None:
    cloud.set_catalog("compute")
    result = nova("usb-list")
    assert result.err == (
        "ERROR (EndpointNotFound): The service catalog has no usb-passthrough endpoint"
        " (interface publicURL, any region). Contact your cloud administrator.\n"
    )
    assert result.status == 1


@pytest.mark.parametrize("token", [False, True])
def test_the_endpoint_that_is_asked(nova: Any, cloud: Any, token: bool) -> None:
    """Ours follows nova's interface and region; what is said of nova's own address does not concern it."""
    cloud.mocker.get("http://usb-internal/v1/devices", json={"devices": []})
    options = ["--os-endpoint-override", "http://nova/v2.1", "--os-endpoint-type", "internal"]
    result = nova(*options, "--os-region-name", "R1", "usb-list", token=token)
    assert (result.status, result.err) == (0, "")
    assert cloud.usb_log == ["GET http://usb-internal/v1/devices"]
    elsewhere = nova(*options, "--os-region-name", "R2", "usb-list", token=token)
    assert "(interface internalURL, region R2)" in elsewhere.err


def test_the_version_that_is_asked_for(nova: Any, cloud: Any) -> None:
    cloud.usb("GET", DEVICES, {"devices": []})
    nova("usb-list")
    headers = cloud.usb_requests[0].headers
    assert headers["OpenStack-API-Version"] == "usb-passthrough 1.0"
    assert headers["Accept"] == "application/json"
    assert headers["X-Auth-Token"] == "T"


def test_an_address_where_something_else_answers(nova: Any, cloud: Any) -> None:
    cloud.mocker.get("http://usb/v1/devices", text="<html>Welcome</html>")
    result = nova("usb-list")
    assert result.err == (
        "ERROR (ClientException): The response from http://usb/v1/devices is not from a usb-passthrough"
        " service. Check the 'usb-passthrough' endpoint in the service catalog.\n"
    )
    assert result.status == 1


HOSTILE = "\x1b[2J\u202eevil\r\n| \\n forged | \x9b\u2028\ud800<script>' OR 1=1 %s {0}"
HARMLESS = "\ufffd[2J\ufffdevil\ufffd\ufffd| \\n forged | \ufffd\ufffd\ufffd<script>' OR 1=1 %s {0}"
HOSTILE_STRINGS = {"name": HOSTILE, "vendor": HOSTILE, "product": HOSTILE, "serial": HOSTILE}


@pytest.mark.usefixtures("clock")
def test_strings_of_a_hostile_device_are_shown_harmless(nova: Any, cloud: Any, make_device: Any) -> None:
    device = make_device(**HOSTILE_STRINGS, server_id=DEMO, state="failed", state_reason=HOSTILE)
    cloud.usb("GET", DEVICES, {"devices": [device, device | {"id": STICK2}]})
    cloud.usb("GET", f"/v1/devices/{STICK1}", {"device": device})
    cloud.usb("POST", ATTACHMENTS, {"attachment": {"device_id": STICK1, "device": device}}, status=202)
    cloud.usb("DELETE", f"{ATTACHMENTS}/{STICK1}", None, status=202)
    texts = [
        nova("usb-list").out,
        nova("usb-show", STICK1).out,
        nova("usb-show", HARMLESS).err,
        nova("usb-show", HOSTILE + "x").err,
        nova("usb-attach", "demo", STICK1).out,
        nova("usb-attach", "--wait", "demo", STICK1).err,
        nova("usb-detach", "--wait", "demo", STICK1).err,
    ]
    cloud.usb_error("GET", DEVICES, 409, HOSTILE)
    texts.append(nova("usb-list").err)
    for text in texts:
        assert HARMLESS in text
        assert not set(text) & set("\x1b\u202e\r\x9b\u2028\ud800")


def test_a_device_cannot_forge_a_row(nova: Any, cloud: Any, make_device: Any) -> None:
    cloud.usb("GET", f"/v1/devices/{STICK1}", {"device": make_device()})
    honest = nova("usb-show", STICK1).out
    forged = make_device(product=r"a\nb", vendor="a\nb\rc")
    cloud.usb("GET", f"/v1/devices/{STICK1}", {"device": forged})
    assert len(nova("usb-show", STICK1).out.splitlines()) == len(honest.splitlines())


def test_a_terminal_that_lacks_the_characters(
    nova: Any, cloud: Any, make_device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = make_device(name="Größe \u4e2d", state_reason="\x07")
    cloud.usb("GET", DEVICES, {"devices": [device]})
    cloud.usb("GET", f"/v1/devices/{STICK1}", {"device": device})
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", terminal)
    listed = nova("usb-list")
    shown = nova("usb-show", STICK1)
    assert (listed.status, shown.status) == (0, 0)
    terminal.flush()
    assert "ID 0781:5567 Größe ?" in terminal.buffer.getvalue().decode("latin-1")


def test_help_tells_the_commands(nova: Any) -> None:
    """A module that cannot be imported would be left out of the help, without a word."""
    assert nova("help", "usb-attach").out == (
        """\
usage: nova usb-attach [--wait] [--timeout <seconds>] [--for <time>] [--queue]
                       [--transport <where>]
                       <server> <device>

Attach a USB device on the compute host to a server.

Positional arguments:
  <server>             Name or ID of server.
  <device>             USB device (ID, name, vendor:product, serial number,
                       port such as 1-4, or BUS:DEV as lsusb prints it), or a
                       kind to attach a free device of that kind.

Options:
  --wait               Wait for the operation to complete.
  --timeout <seconds>  Maximum number of seconds to wait, with --wait
                       (default: 300).
  --for <time>         Detach the device after this time, for example 90m, 2h
                       or 7d.
  --queue              If the device or all devices of the kind are in use,
                       add the server to the queue.
  --transport <where>  Where the device may be: 'local' (default), on the host
                       of the server; 'network' or 'any', also on another
                       host, if it may be used over the network.
"""
    )
    overview = nova("help").out
    completion = nova("bash-completion").out.split()
    for command in ("usb-list", "usb-show", "usb-attach", "usb-detach"):
        assert f"\n    {command} " in overview
        assert command in completion


def test_events(nova: Any, cloud: Any, make_device: Any) -> None:
    event = {
        "created_at": "2026-11-23T00:00:01Z",
        "cause": "asked",
        "state": "attaching",
        "state_reason": None,
        "server_id": DEMO,
        "project_id": "demo",
        "user_id": "somebody",
        "request_id": "req-1",
    }
    later = event | {
        "created_at": "2026-11-23T00:00:02Z",
        "cause": "unplugged",
        "state": "waiting",
        "state_reason": "un\x1b[2Jplugged",
        "user_id": None,
        "request_id": None,
    }
    cloud.usb("GET", DEVICES, {"devices": [make_device()]})
    cloud.usb("GET", f"/v1/devices/{STICK1}/events", {"events": [later, event]})
    result = nova("usb-events", "LABSTICK01")
    assert (result.status, result.err) == (0, "")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in result.out.splitlines()]
    assert [row for row in cells if row] == [
        ["At (UTC)", "Cause", "State", "Reason", "Server", "User", "Request"],
        ["2026-11-23T00:00:02Z", "unplugged", "waiting", "un\ufffd[2Jplugged", DEMO, "-", "-"],
        ["2026-11-23T00:00:01Z", "asked", "attaching", "-", DEMO, "somebody", "req-1"],
    ]
