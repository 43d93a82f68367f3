# SPDX-License-Identifier: Apache-2.0
"""A real stick in a real Nova instance, by ``openstack`` and by openstacksdk."""

from __future__ import annotations

import json
from typing import Any

from openstack import connection

from lab.cloud.site import COMPUTE_HOST
from novaclient_usb import sdk
from tests.cloud.conftest import Cloud


def succeed(cloud: Cloud, user: str, *arguments: str) -> Any:
    """What the command prints as JSON; it must succeed, and say nothing else."""
    done = cloud.openstack(user, *arguments, "-f", "json")
    assert (done.returncode, done.stderr) == (0, ""), f"openstack {' '.join(arguments)}: {done}"
    return json.loads(done.stdout)


def run(cloud: Cloud, user: str, *arguments: str) -> None:
    """The command prints nothing; it must succeed."""
    done = cloud.openstack(user, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), f"openstack {arguments}: {done}"


def test_attach_see_detach_by_openstack(cloud: Cloud, booted: None) -> None:
    listed = succeed(cloud, "demo", "usb", "device", "list", "--server", "demo")
    [stick] = [device for device in listed if device["Serial"] == "LABSTICK01"]
    assert stick["State"] == "available"
    added = succeed(cloud, "demo", "server", "add", "usb", "device", "--wait", "demo", "LABSTICK01")
    assert (added["state"], added["device_id"]) == ("attached", stick["ID"])
    cloud.wait_guest("demo", "LABSTICK01", present=True)
    [attached] = succeed(cloud, "demo", "server", "usb", "device", "list", "demo")
    assert (attached["Device"], attached["State"]) == (stick["Device"], "attached")

    explained = succeed(cloud, "demo", "usb", "device", "explain", "--server", "demo2", stick["ID"])
    unmet = [it["Reason Code"] for it in explained if not it["Met"]]
    assert unmet == ["device_taken"]
    refused = cloud.openstack("demo", "server", "add", "usb", "device", "demo2", stick["ID"])
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "is in use" in refused.stderr
    assert "Traceback" not in refused.stderr

    port = succeed(cloud, "demo", "usb", "device", "show", stick["ID"])["port"]
    run(cloud, "demo", "server", "remove", "usb", "device", "--wait", "demo", port)
    cloud.wait_guest("demo", "LABSTICK01", present=False)
    events = succeed(cloud, "demo", "usb", "device", "event", "list", stick["ID"], "--limit", "10")
    assert "requested" in [event["Cause"] for event in events]


def test_attach_see_detach_by_the_sdk(cloud: Cloud, booted: None) -> None:
    conn = connection.Connection(session=cloud.session("demo"), region_name="RegionOne")
    sdk.register(conn)
    usb = conn.usb_passthrough
    server = conn.compute.find_server("demo")
    [stick] = [device for device in usb.devices(server_id=server.id) if device.serial == "LABSTICK02"]
    attachment = usb.create_attachment(server, stick)
    assert usb.wait_for_attachment(attachment).state == "attached"
    cloud.wait_guest("demo", "LABSTICK02", present=True)
    assert [it.device_id for it in usb.attachments(server)] == [stick.id]
    usb.delete_attachment(server, stick)
    usb.wait_for_delete(attachment, interval=0.5)
    cloud.wait_guest("demo", "LABSTICK02", present=False)


def test_what_operators_do(cloud: Cloud) -> None:
    """Names of hosts, projects and of another project's server; what is set is taken back."""
    [host] = succeed(cloud, "admin", "usb", "host", "list")
    assert (host["Host"], host["State"]) == (COMPUTE_HOST, "up")
    shown = succeed(cloud, "admin", "usb", "host", "show", COMPUTE_HOST)
    assert shown["devices"]["available"] > 0

    run(cloud, "admin", "usb", "device", "set", "--no-share", "--kind", "rack-stick", "LABSTICK02")
    hidden = cloud.openstack("other", "usb", "device", "show", "LABSTICK02")
    assert (hidden.returncode, hidden.stdout) == (1, "")
    run(cloud, "admin", "usb", "device", "set", "--project", "other", "LABSTICK02")
    [kind] = succeed(cloud, "other", "usb", "kind", "list")
    assert (kind["Name"], kind["Free"]) == ("rack-stick", 1)
    stick = succeed(cloud, "admin", "usb", "device", "show", "LABSTICK02")
    assert (stick["shared"], len(stick["projects"]), stick["kind"]) == (False, 1, "rack-stick")
    run(cloud, "admin", "usb", "device", "unset", "--share", "--kind", "--project", "other", "LABSTICK02")
    assert succeed(cloud, "admin", "usb", "device", "show", "LABSTICK02")["kind"] is None

    of_demo = ["server", "usb", "device", "list", "demo"]
    assert cloud.openstack("admin", *of_demo).returncode == 1
    assert succeed(cloud, "admin", *of_demo, "--all-projects") == []
    assert (
        succeed(cloud, "admin", "usb", "event", "list", "--limit", "3", "--long")[0]["Host"] == COMPUTE_HOST
    )
