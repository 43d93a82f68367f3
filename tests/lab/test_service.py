# SPDX-License-Identifier: Apache-2.0
"""From the API to what QEMU holds, with real libvirt and real USB."""

from __future__ import annotations

import time

import pytest
from keystoneauth1 import exceptions

from lab.host.usb import EVERYTHING
from novaclient_usb import names
from novaclient_usb.reason_codes import ReasonCode
from tests.lab.world import World, until


def test_the_clock_of_the_host_is_right(world: World) -> None:
    """Else all that has a time limit there is tested wrongly."""
    assert abs(float(world.host.run(["date", "+%s"]).stdout) - time.time()) < 10


def test_the_same_names_as_lsusb(world: World) -> None:
    listed = sorted(names.lsusb_line(device) for device in world.devices())
    assert listed == world.lsusb()
    assert len(listed) == 8
    assert {device["state"] for device in world.devices()} == {"available"}


def test_attached_means_that_qemu_holds_it(world: World) -> None:
    stick = world.attach("LABSTICK01")
    assert world.held_by("LABSTICK01") == ["one"]
    [hostdev] = world.hostdevs()["one"]
    assert (hostdev.device_id, hostdev.bus, hostdev.device) == (stick["id"], stick["bus"], stick["device"])
    assert "QEMU USB HARDDRIVE" in world.monitor("one", "info usb")

    world.detach("LABSTICK01")
    assert world.hostdevs()["one"] == []
    assert world.held_by("LABSTICK01") == []
    until(lambda: world.host_driver("2-1") == "usb-storage", "the host did not get its stick back")


def test_one_device_one_server(world: World) -> None:
    stick = world.attach("LABSTICK01")
    server = world.servers["one"].uuid
    with pytest.raises(exceptions.Conflict, match=f"in use by server {server}"):
        world.usb.attachments.create(world.servers["two"].uuid, stick["id"])
    with pytest.raises(exceptions.Conflict) as refusal:
        world.their_usb.attachments.create(world.servers["theirs"].uuid, stick["id"])
    assert "is in use" in str(refusal.value)
    assert server not in str(refusal.value)
    [seen] = [device for device in world.their_usb.devices.list() if device["id"] == stick["id"]]
    assert (seen["state"], seen["server_id"], seen["available"]) == ("unavailable", None, False)
    assert world.usb.attachments.create(server, stick["id"])["device"]["state"] == "attached"


def test_twins_are_told_apart(world: World) -> None:
    """Two sticks of one model, in two servers."""
    first, second = world.attach("LABSTICK01"), world.attach("LABSTICK02", "two")
    found = world.hostdevs()
    assert [hostdev.device_id for hostdev in found["one"]] == [first["id"]]
    assert [hostdev.device_id for hostdev in found["two"]] == [second["id"]]
    assert (found["one"][0].device, found["two"][0].device) == (first["device"], second["device"])


def test_a_stick_without_a_serial_is_known_by_its_port(world: World) -> None:
    [stick] = [
        device for device in world.devices() if device["serial"] == "" and device["vendor_id"] == "46f4"
    ]
    server = world.servers["one"].uuid
    world.usb.attachments.create(server, stick["id"])
    world.usb.attachments.wait_attached(server, stick["id"])
    [hostdev] = world.hostdevs()["one"]
    assert (hostdev.bus, hostdev.device) == (stick["bus"], stick["device"])
    assert (world.held_by("LABSTICK01"), world.held_by("LABSTICK02")) == ([], [])


def test_a_stick_that_is_pulled_out_and_plugged_in_elsewhere(world: World) -> None:
    before = world.attach("LABSTICK01")
    world.host.unplug("stick1")
    world.wait_state("LABSTICK01", "waiting", ReasonCode.UNPLUGGED)
    until(lambda: world.hostdevs()["one"] == [], "the empty hostdev stays")
    world.host.plug("stick1", "9")
    world.wait_state("LABSTICK01", "attached")
    after = world.device("LABSTICK01")
    assert after["id"] == before["id"]
    assert after["port"] != before["port"]
    assert world.held_by("LABSTICK01") == ["one"]
    world.detach("LABSTICK01")
    world.host.replug("stick1", "1")
    until(lambda: world.device("LABSTICK01")["port"] == before["port"], "the stick is not seen")


def test_another_stick_in_the_port_is_not_taken_for_it(world: World) -> None:
    world.attach("LABSTICK01")
    world.host.unplug("stick1")
    world.host.unplug("stick2")
    world.host.plug("stick2", "1")
    text = "expected 46f4:0001 LABSTICK01, found 46f4:0001 with another serial number"
    world.wait_state("LABSTICK01", "failed", ReasonCode.PORT_OCCUPIED)
    details = world.admin.devices.get(world.device("LABSTICK01")["id"])["state_reason"]
    assert details == f"another device is in port 2-1 ({text})"
    assert world.hostdevs()["one"] == []
    world.host.plug("stick1", "2")
    world.wait_state("LABSTICK01", "attached")
    assert world.held_by("LABSTICK01") == ["one"]
    assert world.held_by("LABSTICK02") == []
    world.detach("LABSTICK01")
    for name in ("stick1", "stick2"):
        world.host.unplug(name)
    for name in ("stick1", "stick2"):
        world.host.plug(name)
    until(lambda: world.device("LABSTICK02")["port"] == "2-2", "the sticks are not seen in their ports")


def test_a_hub_with_what_is_behind_it(world: World) -> None:
    behind = [device for device in world.devices() if device["port"].startswith("1-7.")]
    assert len(behind) == 2
    server = world.servers["one"].uuid
    for device in behind:
        world.usb.attachments.create(server, device["id"])
        world.usb.attachments.wait_attached(server, device["id"])
    world.host.unplug("hub1")
    for device in behind:
        until(
            lambda device=device: world.usb.devices.get(device["id"])["state"] == "waiting",
            "the device is gone with its hub, and nobody noticed",
        )
    assert world.hostdevs()["one"] == []
    world.host.plug("hub1")
    for device in behind:
        until(
            lambda device=device: world.usb.devices.get(device["id"])["state"] == "attached",
            "the device is back with its hub, and nobody noticed",
        )


def test_a_server_that_is_off_gets_its_device_when_it_starts(world: World) -> None:
    world.attach("LABSTICK01")
    world.virsh("destroy", "one")
    world.wait_state("LABSTICK01", "waiting", ReasonCode.SERVER_OFF)
    world.virsh("start", "one")
    world.wait_state("LABSTICK01", "attached")
    assert world.held_by("LABSTICK01") == ["one"]


def test_what_the_host_uses_is_not_given_away(world: World) -> None:
    stick = world.device("LABSTICK01")
    disk = world.disk("2-1")
    world.shell(f"mkdir -p /mnt/stick; mke2fs -q -F {disk} && mount {disk} /mnt/stick")
    try:
        world.wait_state("LABSTICK01", "unavailable", ReasonCode.HOST_MOUNT)
        with pytest.raises(exceptions.Conflict, match="the compute host uses the device"):
            world.usb.attachments.create(world.servers["one"].uuid, stick["id"])
    finally:
        world.shell("umount /mnt/stick")
    world.wait_state("LABSTICK01", "available")


def test_a_tty_that_a_process_of_the_host_holds_is_not_given_away(world: World) -> None:
    [adapter] = [device for device in world.devices() if device["port"] == "1-5"]
    pid = world.shell("setsid sleep 600 < /dev/ttyUSB0 > /dev/null 2>&1 & echo $!").stdout.strip()
    reason = f"used by the host: process {pid} (sleep) holds /dev/ttyUSB0"

    def in_use() -> bool:
        seen, shown = world.usb.devices.get(adapter["id"]), world.admin.devices.get(adapter["id"])
        return (seen["reason_code"], shown["state_reason"]) == (ReasonCode.HOST_PROCESS, reason)

    try:
        until(in_use, "nobody noticed")
        # Tenants learn nothing about the processes of the host.
        with pytest.raises(exceptions.Conflict, match="the compute host uses the device") as refusal:
            world.usb.attachments.create(world.servers["one"].uuid, adapter["id"])
        assert pid not in str(refusal.value)
    finally:
        world.shell(f"kill {pid}")
    until(lambda: world.usb.devices.get(adapter["id"])["available"], "the adapter stays refused")


def test_what_an_operator_gave_away_by_hand_is_left_alone(world: World) -> None:
    stick = world.device("LABSTICK01")
    by_hand = (
        "<hostdev mode='subsystem' type='usb' managed='no'>"
        f"<source><address bus='{stick['bus']}' device='{stick['device']}'/></source></hostdev>"
    )
    world.shell(f'echo "{by_hand}" > /tmp/by-hand.xml; virsh attach-device two /tmp/by-hand.xml --live')
    try:
        world.usb.attachments.create(world.servers["one"].uuid, stick["id"])
        world.wait_state("LABSTICK01", "failed", ReasonCode.ATTACHED_MANUALLY)
        assert len(world.hostdevs()["two"]) == 1
    finally:
        world.shell("virsh detach-device two /tmp/by-hand.xml --live")
    world.wait_state("LABSTICK01", "attached")


def test_an_agent_killed_at_any_moment_of_an_attach(world: World) -> None:
    """The next one brings the state to the truth, whatever the first had done."""
    server = world.servers["one"].uuid
    stick = world.device("LABSTICK01")
    for delay in (0.0, 0.3):
        world.usb.attachments.create(server, stick["id"])
        time.sleep(delay)
        world.stack.agent.kill()
        world.stack.agent.start()
        world.usb.attachments.wait_attached(server, stick["id"])
        assert world.held_by("LABSTICK01") == ["one"]
        assert len(world.hostdevs()["one"]) == 1
        world.detach("LABSTICK01")


def test_without_an_agent_nothing_is_attached_and_everything_given_back(world: World) -> None:
    stick = world.attach("LABSTICK01")
    other = world.device("LABSTICK02")
    world.stack.agent.stop()
    world.stack.agent.wait_down()
    refusal = r"The USB agent on the host of server .* is down"
    with pytest.raises(exceptions.ServiceUnavailable, match=refusal):
        world.usb.attachments.create(world.servers["one"].uuid, other["id"])
    assert not world.device("LABSTICK02")["available"]
    world.usb.attachments.delete(world.servers["one"].uuid, stick["id"])
    assert world.device("LABSTICK01")["state"] == "detaching"
    world.stack.agent.start()
    world.wait_state("LABSTICK01", "available")
    assert world.hostdevs()["one"] == []


@pytest.mark.parametrize("signal", ["TERM", "KILL"])
def test_libvirtd_goes_away_and_comes_back(world: World, signal: str) -> None:
    """What is attached is not touched, and not attached once more."""
    world.attach("LABSTICK01")
    before = world.hostdevs()["one"]
    world.shell(
        f"kill -{signal} $(cat /run/libvirtd.pid); while pidof libvirtd; do sleep 0.1; done;"
        " libvirtd --listen -d"
    )
    world.attach("LABSTICK02")
    assert world.hostdevs()["one"][:1] == before
    assert len(world.hostdevs()["one"]) == 2
    assert world.held_by("LABSTICK01") == ["one"]
    assert world.monitor("one", "info usb").count("ua-usb-") == 2
    world.detach("LABSTICK01")
    assert world.held_by("LABSTICK01") == []


def test_the_message_bus_and_the_conductor_go_away_and_come_back(world: World) -> None:
    """Meanwhile the agent goes on looking after its host."""
    world.attach("LABSTICK01")
    world.stack.stop_conductor()
    world.stack.stop_message_bus()
    world.host.unplug("stick1")
    until(lambda: world.hostdevs()["one"] == [], "the dead hostdev stays")
    assert world.device("LABSTICK01")["state"] == "attached"
    world.stack.start_message_bus()
    world.stack.start_conductor()
    world.wait_state("LABSTICK01", "waiting", ReasonCode.UNPLUGGED)
    world.host.plug("stick1")
    world.wait_state("LABSTICK01", "attached")
    world.attach("LABSTICK02", "two")


def test_closed_by_default(world: World) -> None:
    """Without a rule nothing is listed, and nothing can be had."""
    stick = world.device("LABSTICK01")
    world.stack.agent.stop()
    world.stack.agent.configure(None)
    try:
        world.stack.agent.start()
        until(lambda: world.devices() == [], "devices are offered without a rule")
        with pytest.raises(exceptions.NotFound):
            world.usb.attachments.create(world.servers["one"].uuid, stick["id"])
    finally:
        world.stack.agent.stop()
        world.stack.agent.configure(EVERYTHING)
        world.stack.agent.start()
    until(lambda: len(world.devices()) > 0, "nothing is offered again")
    world.wait_state("LABSTICK01", "available")
