# SPDX-License-Identifier: Apache-2.0
"""What the host uses is not given away, by whatever name and in whatever namespace; nor what it blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from keystoneauth1 import exceptions

from novaclient_usb.reason_codes import ReasonCode
from tests.lab.gadget import gadget
from tests.lab.world import PATIENCE, World, until

STICK, OTHER_STICK = "2-1", "2-2"
KEYBOARD, ADAPTER, READER = "1-4", "1-5", "1-6"

# linux/usbdevice_fs.h: USBDEVFS_CLAIMINTERFACE, of interface 0.
CLAIM = "fcntl.ioctl(node, 0x8004550F, bytes(4))"
MAP = "kept = mmap.mmap(node, 4096); os.close(node)"


def in_port(world: World, port: str) -> dict[str, Any]:
    """The device in a port, as an administrator sees it."""
    host = world.stack.host.name
    [found] = [
        device for device in world.admin.devices.list() if device["port"] == port and device["host"] == host
    ]
    return found


def wait_state(world: World, port: str, state: str, code: str | None = None) -> str:
    """Until the device in a port is in a state; returns what administrators read of it."""
    seen: dict[str, Any] = {}

    def reached() -> bool:
        nonlocal seen
        seen = in_port(world, port)
        return (seen["state"], seen["reason_code"]) == (state, code)

    try:
        until(reached, f"the device in port {port} is not {state} ({code})")
    except AssertionError as error:
        error.add_note(f"it is {seen}")
        raise
    return seen["state_reason"] or ""


@contextmanager
def process(world: World, command: str) -> Iterator[str]:
    """A command that runs in the host meanwhile, in a session of its own; yields its process id."""
    pid = world.shell(f"setsid {command} > /run/lab/process.log 2>&1 & echo $!").stdout.strip()
    try:
        yield pid
    finally:
        world.shell(f"kill -KILL {pid}; while [ -e /proc/{pid} ]; do sleep 0.1; done")


def python(*statements: str) -> str:
    """A command that runs these and sleeps."""
    return f"python3 -c 'import fcntl, mmap, os, time; {'; '.join(statements)}; time.sleep(3600)'"


def node(world: World, port: str) -> str:
    device = in_port(world, port)
    return f"/dev/bus/usb/{device['bus']:03}/{device['device']:03}"


def has_whole(world: World, port: str, then: str) -> str:
    """A command that opens the node of the whole device."""
    return python(f'node = os.open("{node(world, port)}", os.O_RDWR)', then)


def refused(world: World, port: str) -> None:
    """A tenant cannot have it, and reads nothing of the host."""
    with pytest.raises(exceptions.Conflict, match="the compute host") as refusal:
        world.usb.attachments.create(world.servers["one"].uuid, in_port(world, port)["id"])
    assert "/" not in str(refusal.value).partition("(HTTP")[0]


def attach(world: World, port: str) -> None:
    device, server = in_port(world, port), world.servers["one"].uuid
    world.usb.attachments.create(server, device["id"])
    world.usb.attachments.wait_attached(server, device["id"], PATIENCE)


def test_the_second_disk_of_a_btrfs(world: World) -> None:
    """Only the first is named where it is mounted."""
    first, second = world.disk(STICK), world.disk(OTHER_STICK)
    world.shell(
        f"modprobe btrfs; mkfs.btrfs -q -f -M -d single -m single {first} {second};"
        f" mkdir -p /mnt/btrfs; mount -o device={second} {first} /mnt/btrfs"
    )
    try:
        for port in (STICK, OTHER_STICK):
            reason = wait_state(world, port, "unavailable", ReasonCode.HOST_MOUNT)
            assert reason == "used by the host: mounted at /mnt/btrfs"
        refused(world, OTHER_STICK)
    finally:
        world.shell(f"umount /mnt/btrfs; wipefs -qa {first} {second}; btrfs device scan --forget")
    for port in (STICK, OTHER_STICK):
        wait_state(world, port, "available")


def test_a_disk_that_is_mounted_in_another_namespace(world: World) -> None:
    disk = world.disk(STICK)
    world.shell(f"mkdir -p /mnt/elsewhere; mke2fs -q -F {disk}")
    mounted = f'unshare --mount sh -c "mount {disk} /mnt/elsewhere && exec sleep 3600"'
    with process(world, mounted):
        reason = wait_state(world, STICK, "unavailable", ReasonCode.HOST_MOUNT)
        assert "mounted at /mnt/elsewhere for process" in reason
        assert "/mnt/elsewhere" not in world.shell("cat /proc/1/mountinfo").stdout
        refused(world, STICK)
    wait_state(world, STICK, "available")


def test_a_disk_of_a_volume_group(world: World) -> None:
    disk = world.disk(STICK)
    lvm = "--config 'activation { udev_sync=0 udev_rules=0 verify_udev_operations=0 }'"
    world.shell(
        f"modprobe dm-mod; pvcreate -qq -y {lvm} {disk} && vgcreate -qq {lvm} lab {disk}"
        f" && lvcreate -qq -y -Wn -Zn {lvm} -n volume -l 1 lab"
    )
    try:
        assert "part of dm-" in wait_state(world, STICK, "unavailable", ReasonCode.HOST_VOLUME)
        refused(world, STICK)
    finally:
        world.shell(f"vgremove -qq -y -ff {lvm} lab; pvremove -qq -y -ff {lvm} {disk}; wipefs -qa {disk}")
    wait_state(world, STICK, "available")


def test_a_disk_behind_a_loop_device(world: World) -> None:
    """The kernel does not count that as a claim."""
    loop = world.shell(f"modprobe loop; losetup --show -f {world.disk(STICK)}").stdout.strip()
    try:
        reason = wait_state(world, STICK, "unavailable", ReasonCode.HOST_VOLUME)
        assert reason == "used by the host: behind a loop device"
    finally:
        world.shell(f"losetup -d {loop}")
    wait_state(world, STICK, "available")


def test_a_process_that_reads_a_disk_by_another_name(world: World) -> None:
    disk = world.disk(STICK)
    world.shell(f"mknod /run/lab-odd b $(stat -c '0x%t 0x%T' {disk}); mount -o remount,dev /run")
    with process(world, "sleep 3600 < /run/lab-odd") as pid:
        reason = wait_state(world, STICK, "unavailable", ReasonCode.HOST_PROCESS)
        assert reason == f"used by the host: process {pid} (sleep) holds {disk}"
    world.shell("rm /run/lab-odd")
    wait_state(world, STICK, "available")


def test_a_tty_by_another_node_of_its_number(world: World) -> None:
    world.shell("mknod /root/odd c $(stat -c '0x%t 0x%T' /dev/ttyUSB0)")
    with process(world, "sleep 3600 < /root/odd") as pid:
        reason = wait_state(world, ADAPTER, "unavailable", ReasonCode.HOST_PROCESS)
        assert reason == f"used by the host: process {pid} (sleep) holds /dev/ttyUSB0"
        refused(world, ADAPTER)
    world.shell("rm /root/odd")
    wait_state(world, ADAPTER, "available")


@pytest.mark.parametrize("kind", ["input/input*/event*", "hidraw/hidraw*"])
def test_an_input_device_that_a_process_reads(world: World, kind: str) -> None:
    found = world.shell(f"basename $(ls -d /sys/bus/usb/devices/{KEYBOARD}:1.0/0003:*/{kind})").stdout.strip()
    path = f"/dev/input/{found}" if found.startswith("event") else f"/dev/{found}"
    with process(world, f"sleep 3600 < {path}") as pid:
        reason = wait_state(world, KEYBOARD, "unavailable", ReasonCode.HOST_PROCESS)
        assert reason == f"used by the host: process {pid} (sleep) holds {path}"
        refused(world, KEYBOARD)
    wait_state(world, KEYBOARD, "available")


@pytest.mark.parametrize("then", ["pass", CLAIM, MAP], ids=["open", "claimed", "mapped"])
def test_a_process_that_has_the_whole_device(world: World, then: str) -> None:
    with process(world, has_whole(world, READER, then)) as pid:
        reason = wait_state(world, READER, "unavailable", ReasonCode.HOST_PROCESS)
        assert reason.startswith(f"used by the host: process {pid} (python3) holds /dev/bus/usb/")
        refused(world, READER)
    wait_state(world, READER, "available")


def test_a_process_that_claims_an_interface_of_an_attached_device(world: World) -> None:
    attach(world, READER)
    with process(world, has_whole(world, READER, CLAIM)) as pid:
        assert f"process {pid} " in wait_state(world, READER, "failed", ReasonCode.HOST_PROCESS)
        assert world.hostdevs()["one"] == []
    wait_state(world, READER, "attached")


def authorize(world: World, path: str, value: int) -> None:
    world.shell(f"echo {value} > /sys/bus/usb/devices/{path}/authorized")


def test_a_device_that_the_host_does_not_authorize(world: World) -> None:
    authorize(world, STICK, 0)
    try:
        reason = wait_state(world, STICK, "unavailable", ReasonCode.NOT_AUTHORIZED)
        assert "2-1/authorized" in reason
        refused(world, STICK)
    finally:
        authorize(world, STICK, 1)
    wait_state(world, STICK, "available")
    attach(world, STICK)
    assert world.held_by("LABSTICK01") == ["one"]


def test_an_attached_device_that_is_no_longer_authorized(world: World) -> None:
    attach(world, STICK)
    authorize(world, STICK, 0)
    try:
        wait_state(world, STICK, "failed", ReasonCode.NOT_AUTHORIZED)
        assert world.hostdevs()["one"] == []
    finally:
        authorize(world, STICK, 1)
    wait_state(world, STICK, "attached")
    assert world.held_by("LABSTICK01") == ["one"]


def test_an_interface_that_the_host_does_not_authorize(world: World) -> None:
    authorize(world, f"{STICK}:1.0", 0)
    try:
        reason = wait_state(world, STICK, "unavailable", ReasonCode.NOT_AUTHORIZED)
        assert "2-1:1.0/authorized" in reason
    finally:
        authorize(world, f"{STICK}:1.0", 1)
        world.shell(f"echo {STICK}:1.0 > /sys/bus/usb/drivers_probe")
    wait_state(world, STICK, "available")


def test_a_device_without_a_configuration(world: World) -> None:
    attach(world, STICK)
    world.shell(f"echo 0 > /sys/bus/usb/devices/{STICK}/bConfigurationValue")
    try:
        wait_state(world, STICK, "failed", ReasonCode.NOT_CONFIGURED)
    finally:
        world.shell(f"echo 1 > /sys/bus/usb/devices/{STICK}/bConfigurationValue")
    wait_state(world, STICK, "attached")
    assert world.held_by("LABSTICK01") == ["one"]


def test_a_device_that_is_given_to_another_host_over_the_network(world: World) -> None:
    drivers = "/sys/bus/usb/drivers"
    world.shell(
        f"modprobe usbip-host; echo -n 'add {READER}' > {drivers}/usbip-host/match_busid;"
        f" echo {READER} > {drivers}/usb/unbind; echo {READER} > {drivers}/usbip-host/bind"
    )
    try:
        assert "driver usbip-host" in wait_state(world, READER, "unavailable", ReasonCode.HOST_USE)
    finally:
        world.shell(
            f"echo {READER} > {drivers}/usbip-host/unbind;"
            f" echo -n 'del {READER}' > {drivers}/usbip-host/match_busid;"
            f" echo {READER} > {drivers}/usb/bind"
        )
    wait_state(world, READER, "available")


@contextmanager
def plugged(world: World, usb_id: str, serial: str, function: str) -> Iterator[str]:
    """A device of ours is plugged in meanwhile; yields its port."""
    with gadget(world.host, "", "", serial, usb_id, function):
        until(lambda: any(device["serial"] == serial for device in world.devices()), "it is not listed")
        device = world.device(serial)
        yield device["port"]
    world.wait_state(serial, "unavailable", ReasonCode.UNPLUGGED)
    world.admin.devices.delete(device["id"])


@pytest.fixture
def adapter_offered(world: World) -> Iterator[None]:
    """A network adapter is offered only by a rule that names it."""
    with world.rule_first('{"vendor_id": "dead", "product_id": "beef", "shared": true}'):
        yield


@pytest.mark.usefixtures("adapter_offered")
def test_a_network_interface(world: World) -> None:
    with plugged(world, "dead:beef", "NETWORK", "ecm.0") as port:
        interfaces = f"ls /sys/bus/usb/devices/{port}:*/net"
        until(lambda: world.host.run(interfaces, check=False).stdout, "it has no network interface")
        name = world.shell(f"basename /sys/bus/usb/devices/{port}:*/net/*").stdout.strip()
        wait_state(world, port, "available")
        world.shell(f"ip link set {name} up")
        assert f"{name} is up" in wait_state(world, port, "unavailable", ReasonCode.HOST_NETWORK)
        world.shell(f"ip link set {name} down")
        wait_state(world, port, "available")
        world.shell(f"ip link add lab-bridge type bridge; ip link set {name} master lab-bridge")
        assert "lab-bridge" in wait_state(world, port, "unavailable", ReasonCode.HOST_NETWORK)
        world.shell("ip link del lab-bridge")
        wait_state(world, port, "available")
        world.shell(f"ip netns add elsewhere; ip link set {name} netns elsewhere")
        reason = wait_state(world, port, "unavailable", ReasonCode.HOST_NETWORK)
        assert "another network namespace" in reason
        refused(world, port)
        world.shell("ip netns del elsewhere")
        wait_state(world, port, "available")


def test_a_device_without_a_vendor(world: World) -> None:
    """libvirt takes no vendor 0."""
    with plugged(world, "0000:0006", "NOVENDOR", "acm.0") as port:
        attach(world, port)
        assert world.held_by("NOVENDOR") == ["one"]
        world.detach("NOVENDOR")
