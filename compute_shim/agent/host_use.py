# SPDX-License-Identifier: Apache-2.0
"""Detects USB devices that the host uses or blocks. They are not offered.

Detection uses kernel data by device number, for all processes and namespaces of the host, and does not rely
on names. Kernel objects of a device that are unknown here count as use.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from compute_shim import usbfs
from compute_shim.agent import block_use, registered, usb_tree
from compute_shim.agent.inventory import clean
from compute_shim.agent.open_files import OpenFiles
from compute_shim.agent.usb_tree import Interface, UsbTree
from compute_shim.objects import Reason, ReasonCode

# What udev, lsusb and drivers do with a device that was just plugged in is over by then; and, where a server
# has the device and would lose it, what lsusb -v does with one that answers slowly.
_MOMENT_SECONDS = 0.2
_LONG_MOMENT_SECONDS = 2.0
# Binds an interface that a process has claimed (Linux, drivers/usb/core/devio.c: usbfs_driver).
_CLAIMED = "usbfs"
_DISK = "block/"
_WHOLE_DEVICE = f"char/{usbfs.MAJOR}:"
# Nodes of single mice, and the one for all (Documentation/admin-guide/devices.txt of Linux, "13 char").
_INPUT = "char/13:"
_MICE = range(32, 63)
_ALL_MICE = f"{_INPUT}63"
# Drivers of whole devices that leave the interfaces to others (Linux, drivers/usb/core/generic.c, and
# drivers/usb/misc/apple-mfi-fastcharge.c).
_GENERIC = (None, "usb", "apple-mfi-fastcharge")


class HostUse:
    """Remembers earlier results, because a momentary use does not count. For one thread.

    :param is_server: whether a process is a server, or runs in one. Its open USB devices are not a use by the
        host; its open nodes of host drivers are.
    :param pause: waits that many seconds.
    :param lent: ports of devices that the agent itself uses exclusively.
    """

    def __init__(
        self,
        is_server: Callable[[int], bool],
        sys: Path = Path("/sys"),
        proc: Path = Path("/proc"),
        dev: Path = Path("/dev"),
        files: OpenFiles | None = None,
        pause: Callable[[float], None] = time.sleep,
        lent: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._is_server = is_server
        self._sys, self._proc = sys, proc
        self._disks = block_use.BlockUse(sys, proc, dev)
        self._files = files or OpenFiles(proc)
        self._tree = UsbTree(sys)
        self._pause = pause
        self._lent = lent
        self._lasting: dict[str, Reason] = {}
        self._served: set[str] = set()

    def reasons(self, ports: Collection[str]) -> dict[str, Reason]:
        """Port -> reason why the device there cannot be offered; other ports are omitted.

        :param ports: to check.
        """
        lent = self._lent()
        ports = [port for port in ports if port not in lent]
        found = self._look(ports)
        fresh = [port for port, reason in found.items() if self._lasting.get(port) != reason]
        if fresh:
            self._pause(_MOMENT_SECONDS if self._served.isdisjoint(fresh) else _LONG_MOMENT_SECONDS)
            lasting = self._look(fresh)
            found = {port: reason for port, reason in found.items() if port not in fresh} | lasting
        for port in ports:
            self._lasting.pop(port, None)
        self._lasting |= found
        return found

    def _look(self, ports: Collection[str]) -> dict[str, Reason]:
        nodes = self._tree.nodes(ports)
        interfaces = self._tree.interfaces(ports)
        held = self._held({node for some in nodes.values() for node in some})
        self._served = {port for port, some in nodes.items() if held and self._is_served(some, held)}
        self._disks.look([node for some in nodes.values() for node in some if node.startswith(_DISK)])
        consoles = self._consoles()
        looks = {port: self._uses(port, interfaces[port], nodes[port], held, consoles) for port in ports}
        firsts = {port: next(uses, None) for port, uses in looks.items()}
        return {port: reason for port, reason in firsts.items() if reason is not None}

    def _uses(
        self,
        port: str,
        interfaces: Collection[Interface],
        nodes: Collection[str],
        held: dict[str, list[int]],
        consoles: dict[str, str],
    ) -> Iterator[Reason]:
        """All uses of a device by the host, most important first."""
        yield from self._withheld(port, interfaces)
        yield from self._disks.reasons([node for node in nodes if node.startswith(_DISK)])
        if held:
            yield from self._processes(nodes, held)
        if any(interface.driver == _CLAIMED for interface in interfaces) and not any(map(held.get, nodes)):
            yield Reason(ReasonCode.HOST_PROCESS, "used by the host: a process has claimed an interface")
        for node in consoles.keys() & nodes if consoles else ():
            yield Reason(ReasonCode.HOST_USE, f"used by the host: {consoles[node]} is a kernel console")
        yield from registered.uses(self._tree, interfaces)

    def _withheld(self, port: str, interfaces: Collection[Interface]) -> Iterator[Reason]:
        """The reason why the device cannot be used: the kernel does not configure unauthorized devices."""
        directory = f"{self._sys}/bus/usb/devices/{port}"
        if not interfaces and usb_tree.read(f"{directory}/authorized") == "0":
            yield _unauthorized(f"{port}/authorized")
        for interface in interfaces:
            # One with a driver is authorized (Linux, drivers/usb/core/driver.c: usb_probe_interface).
            if interface.driver is None and usb_tree.read(f"{interface.directory}/authorized") == "0":
                yield _unauthorized(f"{interface.directory.rpartition('/')[2]}/authorized")
        if not interfaces:
            driver = usb_tree.driver(directory)
            if driver not in _GENERIC:
                yield Reason(ReasonCode.HOST_USE, f"used by the host: driver {driver}")
            yield Reason(ReasonCode.NOT_CONFIGURED)

    def _processes(self, nodes: Collection[str], held: dict[str, list[int]]) -> Iterator[Reason]:
        for node in nodes:
            for pid in (*held.get(node, ()), *held.get(_shared(node), ())):
                if not (node.startswith(_WHOLE_DEVICE) and self._is_server(pid)):
                    yield self._process(pid, node)

    def _is_served(self, nodes: Collection[str], held: dict[str, list[int]]) -> bool:
        """Whether a server has the device."""
        whole = [node for node in nodes if node.startswith(_WHOLE_DEVICE)]
        return any(self._is_server(pid) for node in whole for pid in held.get(node, ()))

    def _held(self, nodes: set[str]) -> dict[str, list[int]]:
        return self._files.holders(nodes | set(map(_shared, nodes))) if nodes else {}

    def _process(self, pid: int, node: str) -> Reason:
        name = clean(usb_tree.read(f"{self._proc}/{pid}/comm").encode())
        text = f"used by the host: process {pid} ({name}) holds {usb_tree.node_name(node, self._sys)}"
        return Reason(ReasonCode.HOST_PROCESS, text)

    def _consoles(self) -> dict[str, str]:
        """Node -> name, of what the kernel's own messages go to (Linux, fs/proc/consoles.c)."""
        lines = map(bytes.split, usb_tree.lines(f"{self._proc}/consoles"))
        return {f"char/{words[-1].decode()}": clean(words[0]) for words in lines if words}


def _shared(node: str) -> str:
    """The node by which a device is used together with others of its kind; its own if there is none."""
    number = node.removeprefix(_INPUT)
    return _ALL_MICE if number.isdecimal() and int(number) in _MICE else node


def _unauthorized(attribute: str) -> Reason:
    return Reason(
        ReasonCode.NOT_AUTHORIZED,
        f"not authorized on the host: {attribute} in sysfs is 0, by usbguard or authorized_default",
    )
