# SPDX-License-Identifier: Apache-2.0
"""What has to be true: the claims, the database, libvirt, QEMU and the guests' own lists agree."""

from __future__ import annotations

import dataclasses
import re
import sqlite3
from collections.abc import Iterator, Mapping, Set

from compute_shim.hypervisor.base import ALIAS_PREFIX
from compute_shim.hypervisor.libvirt.config import is_active, usb_hostdevs
from compute_shim.objects import ReasonCode, State
from lab.cloud.site import STATE
from lab.host import Host, domains
from lab.stack import Stack

# port, controller, vendor, product, bus, device, driver of its first interface, serial: of all but hubs.
_LIST_DEVICES = r"""
cd /sys/bus/usb/devices
for port in [0-9]*-*; do
  case $port in *:*) continue;; esac
  read -r class < $port/bDeviceClass 2> /dev/null || continue
  [ "$class" = 09 ] && continue
  driver=$(basename "$(readlink $port:1.0/driver)")
  controller=$(realpath $port | sed 's,/usb[0-9]*/.*,,;s,.*/,,')
  echo "$port $controller $(cat $port/idVendor $port/idProduct $port/busnum $port/devnum | tr '\n' ' ')" \
    "${driver:--} $(cat $port/serial 2> /dev/null)"
done
"""
_LIST_OPEN_FILES = """
for server in %s; do
  pid=$(cat /run/libvirt/qemu/$server.pid 2> /dev/null) || continue
  for file in $(readlink /proc/$pid/fd/* | grep /dev/bus/usb/); do echo $server $file; done
done
"""
_NODE = re.compile(r"(\S+) /dev/bus/usb/(\d{3})/(\d{3})")
_GUEST_DEVICE = re.compile(rf"ID: {ALIAS_PREFIX}(\S+)")
# The host's processes that have the node of a device open, but for QEMU.
_LIST_USERS = """
for process in /proc/[0-9]*; do
  [ "$(cat $process/comm 2> /dev/null)" = sleep ] && readlink $process/fd/* | grep /dev/bus/usb/
done
true
"""

Address = tuple[int | None, int | None]


@dataclasses.dataclass(frozen=True)
class Plugged:
    """A device that the host's kernel sees.

    :param model: vendor, product and serial number.
    :param used: a process of the host has it open.
    """

    model: tuple[str, str, str]
    socket: str
    port: str
    address: Address
    driver: str
    used: bool


@dataclasses.dataclass(frozen=True)
class Domain:
    """A server as libvirt and QEMU have it.

    :param live: (device id, address, missing) of each hostdev in libvirt's XML.
    :param held: addresses of the devices that QEMU has open.
    :param listed: device ids in the list of the guest's USB devices.
    """

    running: bool
    live: list[tuple[str | None, Address, bool]]
    defined: int
    held: set[Address]
    listed: list[str]


@dataclasses.dataclass(frozen=True)
class View:
    """All that can be seen.

    :param plugged: by the device id of its row; by its socket if there is no such row.
    :param rows: of the database, by device id.
    :param shown: (state, reason code, server id) that the API shows an operator, by device id.
    :param domains: by name of the server.
    """

    plugged: dict[str, Plugged]
    rows: dict[str, sqlite3.Row]
    shown: dict[str, tuple[str, str | None, str | None]]
    domains: dict[str, Domain]


def look(stack: Stack, servers: Mapping[str, domains.Server]) -> View:
    """See everything; nothing is quite at the same moment."""
    held = open_devices(stack, servers)
    known = rows()
    return View(
        plugged={row_of(device, known): device for device in plugged(stack)},
        rows=known,
        shown={
            device["id"]: (device["state"], device["reason_code"], device["server_id"])
            for device in stack.admin().devices.list()
        },
        domains={name: _domain(stack, name, held[name]) for name in servers},
    )


def plugged(stack: Stack) -> list[Plugged]:
    """What the host's kernel sees."""
    used = set(stack.host.run(_LIST_USERS).stdout.splitlines())
    found = []
    for line in stack.host.run(_LIST_DEVICES, check=False).stdout.splitlines():
        port, controller, vendor, product, bus, device, driver, *serial = line.split()
        found.append(
            Plugged(
                model=(vendor, product, serial[0] if serial else ""),
                # The ports of QEMU's controller have the same numbers on both buses.
                socket=f"pci-{controller}-usbv2-0:{port.partition('-')[2]}",
                port=port,
                address=(int(bus), int(device)),
                driver=driver,
                used=f"/dev/bus/usb/{int(bus):03}/{int(device):03}" in used,
            )
        )
    return found


def row_of(device: Plugged, known: Mapping[str, sqlite3.Row]) -> str:
    """The id of the row by which the database knows a device: by its serial number if that is its own."""
    for device_id, row in known.items():
        own_serial = device.model[2] and not row["serial_shared"]
        if _model(row) == device.model and (own_serial or row["socket"] == device.socket):
            return device_id
    return device.socket


def _model(row: sqlite3.Row) -> tuple[str, str, str]:
    return row["vendor_id"], row["product_id"], row["serial"]


def rows() -> dict[str, sqlite3.Row]:
    """The devices in the database."""
    connection = sqlite3.connect(f"file:{STATE}/usb-shim.sqlite?mode=ro", uri=True, timeout=30)
    try:
        connection.row_factory = sqlite3.Row
        return {row["id"]: row for row in connection.execute("SELECT * FROM host_usb_devices")}
    finally:
        connection.close()


def open_devices(stack: Stack, servers: Mapping[str, domains.Server]) -> dict[str, set[Address]]:
    """The USB devices that the QEMU of each server has open."""
    found: dict[str, set[Address]] = {name: set() for name in servers}
    listing = stack.host.run(_LIST_OPEN_FILES % " ".join(servers), check=False).stdout
    for name, bus, device in _NODE.findall(listing):
        found[name].add((int(bus), int(device)))
    return found


def _domain(stack: Stack, name: str, held: set[Address]) -> Domain:
    xml = domains.virsh(stack.host, "dumpxml", name)
    running = is_active(xml)
    return Domain(
        running=running,
        live=[(item.device_id, item.address, item.missing) for item in usb_hostdevs(xml) if running],
        defined=len(usb_hostdevs(domains.virsh(stack.host, "dumpxml", "--inactive", name))),
        held=held,
        listed=listed(stack.host, name) if running else [],
    )


def listed(host: Host, server: str) -> list[str]:
    """The ids of our devices in the list of a server's USB devices."""
    monitor = ("qemu-monitor-command", server, "--hmp", "info usb")
    return _GUEST_DEVICE.findall(domains.virsh(host, *monitor))


def shared(held: Mapping[str, Set[Address] | Set[str]]) -> Iterator[str]:
    """The devices that two servers have at once; true at no moment."""
    for name, addresses in held.items():
        for other, others in held.items():
            if name < other and addresses & others:
                yield f"{name} and {other} both hold {addresses & others}"


def disagreements(
    view: View, claims: Mapping[str, str | None], servers: Mapping[str, domains.Server], running: set[str]
) -> Iterator[str]:
    """Whatever is not as it has to be when all is quiet.

    :param claims: device id -> the server that was given it, as the API answered.
    :param running: the servers that are on.
    """
    yield from shared({name: domain.held for name, domain in view.domains.items()})
    names = {server.uuid: name for name, server in servers.items()}
    given: dict[str, dict[str, Address]] = {name: {} for name in servers}
    for device_id, row in view.rows.items():
        owner = row["instance_uuid"]
        if owner != claims.get(device_id):
            yield f"{row['identity']}: claimed by {claims.get(device_id)}, the database says {owner}"
        wanted = _expected(row, view, names.get(owner) in running)
        found = (row["state"], row["reason_code"])
        if found != wanted:
            yield f"{row['identity']}: should be {wanted}, the database says {found}"
        if view.shown.get(device_id) != (*found, owner):
            yield f"{row['identity']}: the API shows {view.shown.get(device_id)}, not {(*found, owner)}"
        yield from _whereabouts(row, view.plugged.get(device_id))
        if wanted[0] == State.ATTACHED:
            given[names[owner]][device_id] = view.plugged[device_id].address
    for socket in view.plugged.keys() - view.rows.keys():
        yield f"{view.plugged[socket]}: not in the database"
    for name, domain in view.domains.items():
        if domain.running != (name in running):
            yield f"{name}: running is {domain.running}"
        yield from _contents(name, domain, given[name])


def _expected(row: sqlite3.Row, view: View, server_runs: bool) -> tuple[str, str | None]:
    """State, and the code of its reason."""
    device = view.plugged.get(row["id"])
    if device is not None and _is_in_doubt(row, view):
        state = State.UNAVAILABLE if row["instance_uuid"] is None else State.WAITING
        if row["instance_uuid"] is None or server_runs:
            return state, ReasonCode.IDENTITY_IN_DOUBT
    if row["instance_uuid"] is None:
        return _expected_free(device)
    if not server_runs:
        return State.WAITING, ReasonCode.SERVER_OFF
    if device is not None:
        return (State.FAILED, ReasonCode.HOST_PROCESS) if device.used else (State.ATTACHED, None)
    if row["socket"] in {other.socket for other in view.plugged.values()}:
        return State.FAILED, ReasonCode.PORT_OCCUPIED
    return State.WAITING, ReasonCode.UNPLUGGED


def _expected_free(device: Plugged | None) -> tuple[str, str | None]:
    if device is None:
        return State.UNAVAILABLE, ReasonCode.UNPLUGGED
    return (State.UNAVAILABLE, ReasonCode.HOST_PROCESS) if device.used else (State.AVAILABLE, None)


def _is_in_doubt(row: sqlite3.Row, view: View) -> bool:
    """Whether it was unplugged while another one of its kind is missing, and a server has one of them."""
    if row["blocked_code"] != ReasonCode.IDENTITY_IN_DOUBT:
        return False
    kin = [other for other in view.rows.values() if _model(other) == _model(row)]
    missing = [other for other in kin if other["id"] not in view.plugged]
    return any(other["instance_uuid"] is not None for other in [row, *missing]) and bool(missing)


def _whereabouts(row: sqlite3.Row, device: Plugged | None) -> Iterator[str]:
    if bool(row["present"]) != (device is not None):
        yield f"{row['identity']}: present is {row['present']}, the kernel sees {device}"
    elif device is not None:
        said = (row["port"], (row["bus"], row["device"]))
        if said != (device.port, device.address):
            yield f"{row['identity']}: the database says it is at {said}, the kernel sees {device}"
        if row["state"] == State.AVAILABLE and row["device_class"] == "08" and device.driver != "usb-storage":
            yield f"{row['identity']}: free, and the host's driver is {device.driver}"


def _contents(name: str, domain: Domain, given: Mapping[str, Address]) -> Iterator[str]:
    """What is in a domain, compared with what it was given: device id -> address."""
    if domain.defined:
        yield f"{name}: {domain.defined} hostdevs in its definition"
    wanted = sorted((device_id, address, False) for device_id, address in given.items())
    if sorted(domain.live, key=str) != sorted(wanted, key=str):
        yield f"{name}: libvirt has {domain.live}, not {wanted}"
    if domain.held != set(given.values()):
        yield f"{name}: QEMU has {sorted(domain.held, key=str)} open, not {sorted(given.values(), key=str)}"
    if sorted(domain.listed) != sorted(given):
        yield f"{name}: the guest's list has {sorted(domain.listed)}, not {sorted(given)}"
