# SPDX-License-Identifier: Apache-2.0
"""The agent with libvirt's LXC driver: servers are containers, and a device is its node in their /dev."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from keystoneauth1 import exceptions

from lab.host import domains
from lab.host.usb import EVERYTHING
from lab.stack import Stack
from lab.stack_nova import HOST
from novaclient_usb.reason_codes import ReasonCode
from tests.lab.world import OTHER_PROJECT, PROJECT, World, until

_ROOT = "/var/lib/lab-containers"
# Runs what is written to one pipe, and writes to the other what that prints.
_INIT = """
while :; do sh < /asked > /answered 2>&1; done
"""

# USBDEVFS_CLAIMINTERFACE (linux/usbdevice_fs.h) of interface 0; a descriptor begins with its length and type.
_USE = """
import fcntl, json, os, struct, sys
try:
    node = os.open(sys.argv[1], os.O_RDWR)
    fcntl.ioctl(node, 0x8004550F, struct.pack("I", 0))
    print(json.dumps(os.read(node, 18).hex()))
except OSError as error:
    print(json.dumps(error.strerror))
"""


class Containers(World):
    """The host with containers for servers."""

    def virsh(self, *arguments: str) -> str:
        return domains.virsh(self.host, *arguments, driver="lxc")

    def start_init(self, server: domains.Server) -> None:
        """Define a container whose init runs what `inside` asks of it, and start it."""
        root = f"{_ROOT}/{server.name}"
        self.shell(
            f"mkdir -p {root}/{{usr,proc,sys,dev,tmp}}; cd {root}; ln -s usr/bin bin; ln -s usr/lib lib;"
            f" ln -s usr/lib64 lib64; echo {base64.b64encode(_INIT.encode()).decode()} | base64 -d > init;"
            " mkfifo asked answered"
        )
        domains.virsh(self.host, "define", "/dev/stdin", stdin=domains.container(server, root), driver="lxc")
        self.virsh("start", server.name)
        self.stack.record_server(server, HOST)

    def inside(self, server: str, command: str) -> str:
        """What a command prints that the container itself runs."""
        code = base64.b64encode(command.encode()).decode()
        return self.shell(f"cd {_ROOT}/{server}; echo {code} | base64 -d > asked; cat answered").stdout

    def use(self, server: str, node: str) -> str:
        """A program in the container claims the device and reads its descriptor, or is told why it cannot."""
        code = base64.b64encode(_USE.encode()).decode()
        said = self.inside(server, f"echo {code} | base64 -d > /use.py; exec python3 -ISs /use.py {node}")
        return str(json.loads(said))

    def nodes(self, server: str) -> list[str]:
        """The nodes of USB devices in the container."""
        return self.inside(server, "ls /dev/bus/usb/*/* 2>/dev/null").split()

    def reader(self) -> dict[str, Any]:
        """The smart-card reader: a device that the host has no driver for."""
        [found] = [device for device in self.devices() if device["vendor_id"] == "08e6"]
        return found


def node(device: dict[str, Any]) -> str:
    return f"/dev/bus/usb/{device['bus']:03}/{device['device']:03}"


@pytest.fixture(scope="module")
def containers(stack: Stack) -> Iterator[Containers]:
    """The agent of the host serves containers meanwhile: two of one project, one of another."""
    servers = {
        name: domains.Server(name, project_id=project)
        for name, project in (("box", PROJECT), ("crate", PROJECT), ("theirbox", OTHER_PROJECT))
    }
    world = Containers(stack, stack.host, servers)
    stack.agent.stop()
    stack.agent.configure('{"shared": true, "handover": "none"}', "lxc")
    stack.agent.start()
    for server in servers.values():
        world.start_init(server)
    yield world
    for name in servers:
        world.virsh("destroy", name)
    stack.agent.stop()
    stack.agent.configure(EVERYTHING)
    stack.agent.start()


@pytest.fixture
def world(containers: Containers) -> Iterator[Containers]:
    """Everything plugged, running and free, before each test and again after it."""
    yield containers
    containers.restore()
    assert containers.hostdevs() == {name: [] for name in containers.servers}


def test_attached_means_that_a_program_in_the_container_can_use_it(world: Containers) -> None:
    assert world.admin.hosts.get(HOST)["hypervisor"].startswith("LXC ")
    reader, server = world.reader(), world.servers["box"].uuid
    world.usb.attachments.create(server, reader["id"])
    world.usb.attachments.wait_attached(server, reader["id"])
    assert world.nodes("box") == [node(reader)]
    assert world.use("box", node(reader)).startswith("1201")

    world.usb.attachments.delete(server, reader["id"])
    world.usb.attachments.wait_detached(server, reader["id"])
    assert world.nodes("box") == []
    assert world.hostdevs()["box"] == []


def test_a_container_can_open_no_other_device(world: Containers) -> None:
    """A node alone does not do: its cgroup allows what it was given, and as long as it has that."""
    mine, other = world.attach("LABSTICK01", "box"), world.device("LABSTICK02")
    minors = {
        name: (it["bus"] - 1) * 128 + it["device"] - 1 for name, it in (("mine", mine), ("other", other))
    }
    root = "/proc/$(cat /run/libvirt/lxc/box.pid)/root/run/libvirt/lxc/box.dev"
    world.shell("; ".join(f"mknod {root}/{name} c 189 {minor}" for name, minor in minors.items()))

    def read(name: str) -> str:
        return world.inside("box", f"od -An -tx1 -N2 /dev/{name}").strip()

    assert read("mine") == "12 01"
    assert read("other").endswith("Operation not permitted")
    world.host.unplug("stick1")
    world.wait_state("LABSTICK01", "waiting", ReasonCode.UNPLUGGED)
    assert read("mine").endswith("Operation not permitted")
    world.inside("box", "rm /dev/mine /dev/other")


def test_one_device_one_server(world: Containers) -> None:
    stick = world.attach("LABSTICK01", "box")
    with pytest.raises(exceptions.Conflict, match="in use by server"):
        world.usb.attachments.create(world.servers["crate"].uuid, stick["id"])
    with pytest.raises(exceptions.Conflict, match="is in use"):
        world.their_usb.attachments.create(world.servers["theirbox"].uuid, stick["id"])
    second = world.attach("LABSTICK02", "crate")
    assert (world.nodes("box"), world.nodes("crate")) == ([node(stick)], [node(second)])


def test_a_stick_that_is_pulled_out_and_plugged_in_again(world: Containers) -> None:
    stick = world.attach("LABSTICK01", "box")
    world.host.unplug("stick1")
    world.wait_state("LABSTICK01", "waiting", ReasonCode.UNPLUGGED)
    assert world.hostdevs()["box"] == []
    assert world.nodes("box") == []
    assert world.host.run(["test", "-e", node(stick)], check=False).returncode == 1
    world.host.plug("stick1")
    world.wait_state("LABSTICK01", "attached")
    assert world.nodes("box") == [node(world.device("LABSTICK01"))]


def test_a_container_that_stops_starts_and_reboots(world: Containers) -> None:
    stick = world.attach("LABSTICK01", "box")
    world.virsh("destroy", "box")
    world.wait_state("LABSTICK01", "waiting", ReasonCode.SERVER_OFF)
    world.virsh("start", "box")
    world.wait_state("LABSTICK01", "attached")
    assert world.nodes("box") == [node(stick)]
    before = world.virsh("domid", "box").strip()
    world.inside("box", 'python3 -c "import ctypes; ctypes.CDLL(None).reboot(0x1234567)"')
    until(lambda: world.virsh("domid", "box").strip() not in (before, "-"), "the container does not reboot")
    until(lambda: world.nodes("box") == [node(stick)], "the container lost its stick when it rebooted")
    world.wait_state("LABSTICK01", "attached")


def test_a_container_starts_without_its_stick(world: Containers) -> None:
    world.attach("LABSTICK01", "box")
    world.virsh("destroy", "box")
    world.host.unplug("stick1")
    world.virsh("start", "box")
    world.wait_state("LABSTICK01", "waiting", ReasonCode.UNPLUGGED)


def test_a_program_that_has_the_device_open_keeps_it_from_the_next_server(world: Containers) -> None:
    stick = world.attach("LABSTICK01", "box")
    server = world.servers["box"].uuid
    world.inside("box", f"(exec 3<> {node(stick)}; exec sleep 600) > /dev/null 2>&1 & echo $! > /pid")
    world.usb.attachments.delete(server, stick["id"])
    world.wait_state("LABSTICK01", "detaching", ReasonCode.OPEN_IN_SERVER)
    with pytest.raises(exceptions.Conflict):
        world.usb.attachments.create(world.servers["crate"].uuid, stick["id"])
    world.inside("box", "kill $(cat /pid)")
    world.wait_state("LABSTICK01", "available")
    world.attach("LABSTICK01", "crate")


def test_ours_is_known_again_by_a_new_agent_and_a_new_libvirtd(world: Containers) -> None:
    world.attach("LABSTICK01", "box")
    world.stack.agent.kill()
    world.shell(
        "kill $(cat /run/libvirtd.pid); while pidof libvirtd; do sleep 0.1; done; libvirtd --listen -d"
    )
    world.stack.agent.start()
    world.wait_state("LABSTICK01", "attached")
    assert len(world.hostdevs()["box"]) == 1
    world.detach("LABSTICK01", "box")
    assert world.nodes("box") == []


def test_what_an_operator_gave_away_by_hand_is_left_alone(world: Containers) -> None:
    stick = world.device("LABSTICK01")
    by_hand = (
        "<hostdev mode='subsystem' type='usb' managed='no'>"
        f"<source><address bus='{stick['bus']}' device='{stick['device']}'/></source></hostdev>"
    )
    world.shell(f'echo "{by_hand}" > /tmp/by-hand.xml')
    world.shell("virsh -c lxc:///system attach-device crate /tmp/by-hand.xml --live")
    try:
        world.usb.attachments.create(world.servers["box"].uuid, stick["id"])
        world.wait_state("LABSTICK01", "failed", ReasonCode.ATTACHED_MANUALLY)
        assert world.nodes("crate") == [node(stick)]
    finally:
        world.shell("virsh -c lxc:///system detach-device crate /tmp/by-hand.xml --live")
    world.wait_state("LABSTICK01", "attached")


def test_a_stick_that_the_host_mounts_is_taken_back(world: Containers) -> None:
    """The host's own driver stays on it, so that the host can."""
    world.attach("LABSTICK01", "box")
    disk = world.disk("2-1")
    world.shell(f"mkdir -p /mnt/stick; mke2fs -q -F {disk} && mount {disk} /mnt/stick")
    try:
        world.wait_state("LABSTICK01", "failed", ReasonCode.HOST_MOUNT)
        assert world.nodes("box") == []
    finally:
        world.shell("umount /mnt/stick")
    world.wait_state("LABSTICK01", "attached")
