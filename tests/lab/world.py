# SPDX-License-Identifier: Apache-2.0
"""What the tests here do to the host, and how they look at what became of it."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

from keystoneauth1 import exceptions

from compute_shim import nova
from compute_shim.hypervisor.base import Hostdev
from compute_shim.hypervisor.libvirt.config import usb_hostdevs
from lab.host import Host, domains, usb
from lab.host.usb import EVERYTHING
from lab.stack import Stack
from novaclient_usb.reason_codes import ReasonCode

PROJECT, OTHER_PROJECT = "project-one", "project-two"
# Far beyond what it takes: emulated, on a machine that does other things.
PATIENCE = 120.0
# Each look costs processors that emulate what is looked at.
_POLL_SECONDS = 0.2


def until(condition: Callable[[], Any], what: str) -> None:
    """Wait until it is so."""
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, what
        time.sleep(_POLL_SECONDS)


def bind_controllers(host: Host, *order: str) -> None:
    """Unbind the USB controllers, and bind them in this order, as a boot may do it: their buses change names.

    :param order: of the names in `lab.host.usb.CONTROLLERS`.
    """
    names = [f"0000:00:{usb.CONTROLLERS[controller]}.0" for controller in order]
    writes = [f"echo {name} > unbind" for name in names] + [f"echo {name} > bind" for name in names]
    host.run("cd /sys/bus/pci/drivers/xhci_hcd && " + " && ".join(writes))


class World:
    """The host, its servers, and the service as two tenants see it."""

    def __init__(self, stack: Stack, host: Host, servers: dict[str, domains.Server]) -> None:
        self.stack = stack
        self.host = host
        self.servers = servers
        self.usb = stack.client(PROJECT)
        self.their_usb = stack.client(OTHER_PROJECT)
        self.admin = stack.admin()

    # Doing

    def attach(self, serial: str, server: str = "one") -> dict[str, Any]:
        """Attach a stick and wait until it is."""
        device = self.device(serial)
        self.wait_free(device["id"])
        self.usb.attachments.create(self.servers[server].uuid, device["id"])
        return self.usb.attachments.wait_attached(self.servers[server].uuid, device["id"], PATIENCE)

    def detach(self, serial: str, server: str = "one") -> None:
        """Detach a stick and wait until it is."""
        device = self.device(serial)
        self.usb.attachments.delete(self.servers[server].uuid, device["id"])
        self.usb.attachments.wait_detached(self.servers[server].uuid, device["id"], PATIENCE)

    def wait_free(self, device_id: str) -> None:
        """Until the host is done with a device that was plugged in a moment ago, unless a server has it.

        udev has it then, and a driver that makes a disk of it.
        """

        def is_free() -> bool:
            device = self.admin.devices.get(device_id)
            return device["state"] == "available" or device["server_id"] is not None

        until(is_free, f"{device_id} is not free")

    def virsh(self, *arguments: str) -> str:
        """Run virsh against the host's libvirt."""
        return domains.virsh(self.host, *arguments)

    def restore(self) -> None:
        """Everything plugged, running and free."""
        for plugged in self.host.devices():
            if plugged.device.spare and plugged.port is not None:
                self.host.unplug(plugged.device.name)
            elif plugged.port is None and not plugged.device.spare:
                self.host.plug(plugged.device.name)
        running = self.virsh("list", "--state-running", "--name").split()
        for name in self.servers:
            if name not in running:
                self.virsh("start", name)
        for device in self.admin.devices.list():
            if device["server_id"] is not None:
                self.admin.attachments.delete(device["server_id"], device["id"])
        until(
            lambda: all(device["server_id"] is None for device in self.admin.devices.list()),
            "not everything was given back",
        )
        # One that is known and out could be any other of its kind that is plugged in anew.
        until(self._forget_absent, "something is unplugged")

    def _forget_absent(self) -> bool:
        absent = [it for it in self.admin.devices.list() if it["reason_code"] == ReasonCode.UNPLUGGED]
        for device in absent:
            with contextlib.suppress(exceptions.Conflict):  # it is just coming back
                self.admin.devices.delete(device["id"])
        return not absent

    @contextlib.contextmanager
    def rule_first(self, rule: str) -> Iterator[None]:
        """The agent offers devices by a rule before all others, meanwhile."""
        agent = self.stack.agent
        agent.configure(f"[{rule}, {EVERYTHING.removeprefix('[')}")
        agent.reload()
        yield
        agent.configure(EVERYTHING)
        agent.reload()

    # Looking

    def devices(self) -> list[dict[str, Any]]:
        """The devices of the host, as their user sees them."""
        host_id = nova.host_id(PROJECT, self.host.name)
        return [device for device in self.usb.devices.list() if device["host_id"] == host_id]

    def device(self, serial: str) -> dict[str, Any]:
        """The device with a serial."""
        [found] = [device for device in self.devices() if device["serial"] == serial]
        return found

    def wait_state(self, serial: str, state: str, *codes: str) -> None:
        """Until a device is in a state, for one of these reasons (codes), or for none."""
        seen: dict[str, Any] = {}

        def reached() -> bool:
            nonlocal seen
            seen = self.device(serial)
            return seen["state"] == state and seen["reason_code"] in (codes or (None,))

        try:
            until(reached, f"{serial} is not {state} ({codes})")
        except AssertionError as error:
            error.add_note(f"it is {seen}")
            raise

    def hostdevs(self) -> dict[str, list[Hostdev]]:
        """The USB hostdevs of every server: in the running domain and in its definition."""
        # In one go: each call of virsh connects anew, and there are six.
        shown = self.virsh("; ".join(f"dumpxml {name}; dumpxml --inactive {name}" for name in self.servers))
        hostdevs = [usb_hostdevs(xml) for xml in re.findall(r"<domain .*?</domain>", shown, re.DOTALL)]
        return {
            name: [*live, *defined]
            for name, live, defined in zip(self.servers, hostdevs[::2], hostdevs[1::2], strict=True)
        }

    def held_by(self, serial: str) -> list[str]:
        """The servers that have the device with a serial."""
        # Another project's device shows no serial to this one.
        [device] = self.admin.devices.list(host=self.host.name, serial=serial)
        return self.holders(device)

    def holders(self, device: dict[str, Any]) -> list[str]:
        """The servers whose QEMU has a device open: that is what a guest really has."""
        node = f"/dev/bus/usb/{device['bus']:03}/{device['device']:03}"
        # QEMU has nodes of its own, in a mount namespace: by name, not by inode.
        looking = (
            f"for server in {' '.join(self.servers)}; do"
            f" find /proc/$(</run/libvirt/qemu/$server.pid)/fd -lname {node} -printf $server'\\n' -quit; done"
        )
        return self.host.run(looking, check=False).stdout.split()

    def monitor(self, server: str, command: str) -> str:
        """What QEMU itself says of a server, by its monitor for people."""
        return self.virsh("qemu-monitor-command", server, "--hmp", command)

    def superspeed_ports(self, server: str) -> list[int] | None:
        """The ports at which the guest's controller shows it a SuperSpeed device, whatever QEMU has there.

        None while the firmware has not set up the controller.
        """
        # QEMU, docs/specs/pci-ids.rst: 1b36:000d is qemu-xhci. Its first BAR is of 64 bits.
        controller = self.monitor(server, "info pci").partition("PCI device 1b36:000d")[2]
        base = re.search(r"BAR0: 64 bit memory at 0x([0-9a-f]+)", controller)
        if base is None:
            return None
        # QEMU, hw/usb/hcd-xhci.c: LEN_CAP 0x40; xHCI 1.2, 5.4.8: PORTSC at 0x400 beyond it, 16 bytes to a
        # port, bit 0 "current connect status". The four SuperSpeed ports come first (XHCI_FLAG_SS_FIRST).
        first = int(base[1], 16) + 0x40 + 0x400
        shown = [self.monitor(server, f"xp /1xw {first + 16 * number:#x}") for number in range(4)]
        words = [re.search(r": 0x([0-9a-f]{8})$", one.strip()) for one in shown]
        if None in words:
            return None
        return [number for number, word in enumerate(words, start=1) if word and int(word[1], 16) & 1]

    def host_driver(self, port: str) -> str:
        """The host's own driver of the device in a port; nothing if it has none."""
        return self.host.run(f"basename $(readlink /sys/bus/usb/devices/{port}:1.0/driver)").stdout.strip()

    def disk(self, port: str) -> str:
        """The block device of the stick in a port, once the host's driver has made it."""
        blocks = f"ls /sys/bus/usb/devices/{port}:1.0/host*/target*/*/block"

        def name() -> str:
            return self.host.run(blocks, check=False).stdout.strip()

        until(name, f"the host makes no disk of the stick in port {port}")
        return f"/dev/{name()}"

    def lsusb(self) -> list[str]:
        """What lsusb prints, without hubs."""
        lines = self.host.run(["lsusb"]).stdout.splitlines()
        return sorted(line.rstrip() for line in lines if "hub" not in line.lower())

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the host."""
        return self.host.run(command)


def migrate(origin: World, target: World, server: str) -> None:
    """What Nova does in a live migration."""
    origin.virsh(
        *("migrate", "--live", "--p2p", "--persistent", "--undefinesource"),
        *(server, f"qemu+tcp://{target.host.name}/system"),
    )
    origin.stack.record_server(origin.servers[server], target.host.name)
