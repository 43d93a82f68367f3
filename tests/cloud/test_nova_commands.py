# SPDX-License-Identifier: Apache-2.0
"""A real stick in a real Nova instance, as its user does it."""

from __future__ import annotations

import re
import time
import uuid

import pytest
from keystoneauth1 import exceptions

from lab.cloud.process import wait_until
from lab.cloud.site import COMPUTE_HOST
from tests.cloud import agent
from tests.cloud.conftest import Cloud

NOWHERE = "00000000-0000-4000-8000-000000000000"


def lsusb_lines(text: str) -> list[str]:
    """The lsusb lines in a table or in lsusb's own output, without hubs, in order."""
    lines = re.findall(r"Bus \d{3} Device \d{3}: ID [0-9a-f]{4}:[0-9a-f]{4}[^|\n]*", text)
    return sorted(line.rstrip() for line in lines if not re.search(r"(?i)\bhub\b", line))


def test_the_commands_are_there(cloud: Cloud) -> None:
    text = cloud.succeed("demo", "help")
    for command in ("usb-list", "usb-show", "usb-attach", "usb-detach"):
        assert command in text


def test_attach_see_it_in_the_guest_detach_and_see_it_gone(cloud: Cloud, booted: None) -> None:
    cloud.wait_guest("demo", "LABSTICK01", present=False)
    cloud.succeed("demo", "usb-attach", "--wait", "demo", "LABSTICK01")
    cloud.wait_guest("demo", "LABSTICK01", present=True)
    assert "46f4:0001 LABSTICK01 QEMU USB HARDDRIVE" in cloud.guest_usb("demo")
    wait_until(
        lambda: cloud.guest_reads(cloud.server_id("demo", "demo"), "LABSTICK01") == "stick1",
        "the guest does not read the stick",
        300,
        cloud.host.running,
        every=3,
    )
    assert state(cloud, "LABSTICK01") == "attached"

    # Taken, also for one's own other server; and without saying by whom, or which one it is, to a stranger.
    ours = cloud.server_id("demo", "demo")
    assert "is in use" in cloud.fail("demo", "usb-attach", "demo2", "LABSTICK01")
    [stick] = [device for device in cloud.usb("demo").devices.list() if device["serial"] == "LABSTICK01"]
    refusal = cloud.fail("other", "usb-attach", "other", stick["id"])
    assert "is in use" in refusal
    assert "HTTP 409" in refusal
    shown = cloud.succeed("other", "usb-show", stick["id"])
    assert "unavailable" in shown
    assert ours not in refusal + shown
    assert "LABSTICK01" not in refusal + shown
    assert "No USB device 'LABSTICK01' was found" in cloud.fail("other", "usb-attach", "other", "LABSTICK01")

    # Asking again for what one has is no error.
    cloud.succeed("demo", "usb-attach", "--wait", "demo", "LABSTICK01")

    cloud.succeed("demo", "usb-detach", "--wait", "demo", "LABSTICK01")
    cloud.wait_guest("demo", "LABSTICK01", present=False)
    cloud.succeed("other", "usb-attach", "--wait", "other", "LABSTICK01")
    cloud.succeed("other", "usb-detach", "--wait", "other", "LABSTICK01")


def test_a_device_by_bus_and_number_by_name_and_by_id(cloud: Cloud) -> None:
    listed = cloud.succeed("demo", "usb-list", "--server", "demo")
    reader = re.search(r"\| ([0-9a-f-]{36}) \| Bus (\d{3}) Device (\d{3}): ID 08e6:4433 ([^|]*?) *\|", listed)
    assert reader is not None
    device_id, bus, device, name = reader.groups()
    for wanted in (f"{bus}:{device}", f"{int(bus)}:{int(device)}", name, "08e6:4433", device_id):
        cloud.succeed("demo", "usb-attach", "--wait", "demo", wanted)
        assert device_id in cloud.succeed("demo", "usb-list", "--state", "attached")
        cloud.succeed("demo", "usb-detach", "--wait", "demo", wanted)


def test_several_matches_are_listed(cloud: Cloud) -> None:
    complaint = cloud.fail("demo", "usb-attach", "demo", "46f4:0001")
    assert "3 USB devices" in complaint
    assert "LABSTICK01" in complaint
    assert "LABSTICK02" in complaint


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("demo", "dead:beef"), "No USB device 'dead:beef' was found"),
        (("demo", "0409:55aa"), "No USB device '0409:55aa' was found"),  # a hub is not offered
        (("nobody", "LABSTICK01"), "No server with a name or ID of 'nobody' exists"),
        (("other", "LABSTICK01"), "No server with a name or ID of 'other' exists"),
    ],
)
def test_what_is_not_there_is_named(cloud: Cloud, arguments: tuple[str, str], complaint: str) -> None:
    assert complaint in cloud.fail("demo", "usb-attach", *arguments)


def test_the_service_itself_hides_the_servers_of_others(cloud: Cloud) -> None:
    """Whatever a client asks for: somebody else's server looks like one that is not there."""
    usb = cloud.usb("demo")
    [stick] = [device for device in usb.devices.list() if device["serial"] == "LABSTICK01"]
    theirs = cloud.server_id("other", "other")
    for unknown in (theirs, NOWHERE):
        with pytest.raises(exceptions.NotFound, match=f"Server {unknown} could not be found"):
            usb.attachments.create(unknown, stick["id"])
        with pytest.raises(exceptions.NotFound):
            usb.devices.list(server_id=unknown)
        with pytest.raises(exceptions.NotFound):
            usb.attachments.list(unknown)
    with pytest.raises(exceptions.Forbidden):
        usb.hosts.list()


def test_lsusb_and_usb_list_name_the_same_devices(cloud: Cloud) -> None:
    on_host = lsusb_lines(cloud.host.run(["lsusb"]).stdout)
    assert on_host
    assert lsusb_lines(cloud.succeed("admin", "usb-list", "--host", COMPUTE_HOST)) == on_host


def test_a_server_that_is_deleted_gives_its_device_back(cloud: Cloud) -> None:
    """Without anybody asking, and without the conductor being told."""
    name = f"shortlived-{uuid.uuid4()}"
    cloud.succeed("demo", "boot", "--image", "tiny", "--flavor", "m1.usb", "--nic", "none", "--poll", name)
    try:
        cloud.succeed("demo", "usb-attach", "--wait", name, "LABSTICK02")
    finally:
        cloud.succeed("demo", "delete", name)
    wait_until(
        lambda: state(cloud, "LABSTICK02") == "available",
        "the stick of a deleted server is not given back",
        300,
        cloud.host.running,
    )


def state(cloud: Cloud, device: str) -> str:
    """The state of a device, as usb-show tells it."""
    found = re.search(r"\| state +\| (\w+)", cloud.succeed("demo", "usb-show", device))
    assert found is not None
    return found[1]


def test_an_agent_that_is_killed_while_it_attaches(cloud: Cloud, booted: None) -> None:
    """SIGKILL at any moment, and a new agent: it ends where it would have ended."""
    cloud.succeed("demo", "usb-attach", "demo", "LABSTICK02")
    time.sleep(0.1)
    agent.kill(cloud.host)
    agent.start(cloud.host)
    usb = cloud.usb("demo")
    [stick] = [device for device in usb.devices.list() if device["serial"] == "LABSTICK02"]
    usb.attachments.wait_attached(cloud.server_id("demo", "demo"), stick["id"])
    cloud.wait_guest("demo", "LABSTICK02", present=True)
