# SPDX-License-Identifier: Apache-2.0
"""A host in memory: domains that obey the driver contract, and strategies that make up hosts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import strategies as st

from compute_shim.hypervisor.base import (
    ALIAS_PREFIX,
    Domain,
    Driver,
    Hostdev,
    HypervisorBusy,
    HypervisorError,
    HypervisorUnavailable,
)
from compute_shim.objects import Claim, Device, ReasonCode, State

SERVERS = [f"00000000-0000-0000-0000-00000000000{number}" for number in range(4)]
DEVICE_IDS = [f"device-{number}" for number in range(5)]


def device(number: int, **changes: object) -> Device:
    """The plugged device of that number; with another address if told so."""
    values: dict[str, Any] = {
        "identity": f"46f4:0001:SERIAL{number}",
        "device_id": f"device-{number}",
        "socket": f"pci-0000:00:14.0-usbv2-0:{number}",
        "plug_id": f"boot/2.{number}/{number}",
        "name": "QEMU QEMU USB HARDDRIVE",
        "vendor_id": "46f4",
        "product_id": "0001",
        "vendor": "QEMU",
        "product": "QEMU USB HARDDRIVE",
        "serial": f"SERIAL{number}",
        "device_class": "08",
        "speed": "5000",
        "port": f"2-{number}",
        "bus": 2,
        "device": number + 2,
    }
    return Device(**(values | changes))


def claim(number: int, server: str | None, generation: int = 1, **changes: object) -> Claim:
    """The claim on the device of that number."""
    values: dict[str, Any] = {
        "device_id": f"device-{number}",
        "identity": f"46f4:0001:SERIAL{number}",
        "port": f"2-{number}",
        "vendor_id": "46f4",
        "product_id": "0001",
        "serial": f"SERIAL{number}",
        "socket": f"pci-0000:00:14.0-usbv2-0:{number}",
        "plug_id": f"boot/2.{number}/{number}",
        "enabled": True,
        "generation": generation,
        "server_id": server,
    }
    return Claim(**(values | changes))


def ours(number: int, plugged: Device | None = None) -> Hostdev:
    """Our hostdev for the device of that number, at the address of the plugged device."""
    plugged = plugged or device(number)
    return Hostdev(f"{ALIAS_PREFIX}device-{number}", plugged.bus, plugged.device)


class FakeDriver(Driver):
    """Domains in memory.

    It refuses what libvirt refuses: a second domain for an address, and what is not plugged.
    """

    def __init__(self, domains: Iterable[Domain], devices: Iterable[Device]) -> None:
        self.state = {domain.uuid: domain for domain in domains}
        self.addresses = {(device.bus, device.device) for device in devices}
        self.calls: list[tuple[Any, ...]] = []
        self.refuse: str | None = None
        self.refuse_detach: str | None = None
        self.away = False
        self.busy = False
        self.complaints: list[str] = []
        self.on_change: Callable[[str | None], None] = lambda uuid: None

    def listen(self, on_change: Callable[[str | None], None]) -> None:
        self.on_change = on_change

    def name(self) -> str:
        self._answer()
        return "fake 1.0"

    def problems(self) -> list[str]:
        return list(self.complaints)

    def is_server(self, pid: int) -> bool:
        return False

    def domains(self) -> list[Domain]:
        self._answer()
        return list(self.state.values())

    def domain(self, uuid: str) -> Domain | None:
        self._answer()
        return self.state.get(uuid)

    def attach(self, uuid: str, device_id: str, device: Device) -> None:
        self._answer()
        self.calls.append(("attach", uuid, device_id))
        if self.busy:
            raise HypervisorBusy()
        if self.refuse is not None:
            raise HypervisorError(ReasonCode.HYPERVISOR_ERROR, self.refuse)
        domain = self.state[uuid]
        address = (device.bus, device.device)
        if not domain.running or address not in self.addresses:
            raise HypervisorError(ReasonCode.HYPERVISOR_ERROR, "not running, or not plugged")
        if any(h.holds(device) for d in self.state.values() for h in d.live):
            raise HypervisorError(ReasonCode.HELD_BY_DOMAIN)
        self.state[uuid] = domain.with_device(device_id, device)

    def detach(self, uuid: str, device_id: str, *, live: bool, config: bool) -> Domain | None:
        self._answer()
        self.calls.append(("detach", uuid, device_id, live, config))
        if self.refuse_detach is not None:
            raise HypervisorError(ReasonCode.HYPERVISOR_ERROR, self.refuse_detach)
        domain = self.state[uuid]

        def without(hostdevs: tuple[Hostdev, ...]) -> tuple[Hostdev, ...]:
            return tuple(hostdev for hostdev in hostdevs if hostdev.device_id != device_id)

        self.state[uuid] = dataclasses.replace(
            domain,
            live=without(domain.live) if live else domain.live,
            config=without(domain.config) if config else domain.config,
            channels=tuple(it for it in domain.channels if it != device_id) if live else domain.channels,
        )
        return self.state[uuid]

    def attach_channel(self, uuid: str, device_id: str, socket: str) -> None:
        self._answer()
        self.calls.append(("attach_channel", uuid, device_id, socket))
        if self.refuse is not None:
            raise HypervisorError(ReasonCode.HYPERVISOR_ERROR, self.refuse)
        if device_id in self.state[uuid].channels:
            raise HypervisorError(ReasonCode.HYPERVISOR_ERROR, "non unique alias detected")
        self.state[uuid] = self.state[uuid].with_channel(device_id)

    def close(self) -> None:
        self.state = {}

    def _answer(self) -> None:
        if self.away:
            raise HypervisorUnavailable("the daemon is away")


_servers = st.sampled_from([*SERVERS, "elsewhere"])
_addresses = st.integers(1, 9)


@st.composite
def _hostdevs(draw: st.DrawFn, taken: set[int]) -> tuple[Hostdev, ...]:
    """Hostdevs of one live domain: ours, an operator's and empty ones; no address is held twice."""
    found: list[Hostdev] = []
    for alias in draw(st.lists(st.sampled_from([*DEVICE_IDS, "gone", None]), max_size=4, unique=True)):
        missing = draw(st.booleans())
        address = draw(_addresses)
        if not missing and address in taken:
            continue
        if not missing:
            taken.add(address)
        found.append(Hostdev(None if alias is None else f"{ALIAS_PREFIX}{alias}", 2, address, missing))
    return tuple(found)


@st.composite
def hosts(draw: st.DrawFn) -> tuple[list[Claim], list[Device], list[Domain]]:
    """Any claims, any devices, any domains."""
    claims = []
    for number in draw(st.lists(st.integers(0, 4), unique=True)):
        server = draw(st.none() | _servers)
        state = State.DETACHING if server is None and draw(st.booleans()) else None
        claims.append(claim(number, server, state=state))
    addresses = draw(st.permutations(range(1, 10)))
    devices = [
        device(
            number,
            device_id=draw(st.sampled_from([f"device-{number}", f"device-{number}", None])),
            device=addresses[number],
            blocked_code=draw(st.sampled_from([None, None, ReasonCode.HOST_MOUNT])),
        )
        for number in draw(st.lists(st.integers(0, 4), unique=True))
    ]
    taken: set[int] = set()
    domains = []
    for uuid in draw(st.lists(st.sampled_from(SERVERS), unique=True)):
        running = draw(st.booleans())
        live = draw(_hostdevs(taken)) if running else ()
        config = draw(_hostdevs(set()))
        domains.append(Domain(uuid, f"instance-{uuid[-1]}", running, live, config))
    return claims, devices, domains
