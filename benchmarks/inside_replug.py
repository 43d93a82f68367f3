# SPDX-License-Identifier: Apache-2.0
"""Runs in the lab host: a bare attach, and how long after the kernel's event the agent's own is done.

Usage: inside_replug.py DOMAIN_UUID PORT ROUNDS. For each round it asks for a replug by printing a full stop;
at the end it prints JSON: seconds of each round.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import libvirt
import pyudev

from compute_shim.agent import inventory
from compute_shim.hypervisor.libvirt.config import hostdev_xml
from compute_shim.objects import Device

SETTLE = 1.0  # seconds in which the host's driver takes the device back
PATIENCE = 120.0


class Clock:
    """When what was seen for the first time since `start`."""

    def __init__(self) -> None:
        self._times: dict[str, float] = {}
        self._seen = threading.Condition()

    def start(self) -> None:
        with self._seen:
            self._times.clear()

    def saw(self, what: str, after: str | None = None) -> None:
        """Note what is seen now, if it was not seen before, and only after something else."""
        with self._seen:
            if after is None or after in self._times:
                self._times.setdefault(what, time.perf_counter())
                self._seen.notify_all()

    def wait(self, what: str) -> dict[str, float]:
        with self._seen:
            if not self._seen.wait_for(lambda: what in self._times, timeout=PATIENCE):
                raise SystemExit(f"waited for {what!r}, saw {list(self._times)}")
            return dict(self._times)


def watch_udev(source: str, port: str, saw: Callable[[], None]) -> None:
    """Tell of a device that is plugged into a port: when the kernel says so, or when udev is done with it."""
    monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source=source)
    monitor.filter_by("usb", "usb_device")

    def on_event(device: pyudev.Device) -> None:
        if device.action == "add" and device.sys_name == port:
            saw()

    observer = pyudev.MonitorObserver(monitor, callback=on_event)
    observer.daemon = True
    observer.start()


def watch_domain(domain: libvirt.virDomain, connection: libvirt.virConnect, clock: Clock) -> None:
    """Tell of devices of the agent's that come into the domain and go out of it after a replug."""

    def added(connection: Any, domain: Any, alias: str, opaque: Any) -> None:
        clock.saw("attached", after="kernel")

    def removed(connection: Any, domain: Any, alias: str, opaque: Any) -> None:
        clock.saw("detached", after="attached")

    connection.domainEventRegisterAny(domain, libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, added, None)
    connection.domainEventRegisterAny(domain, libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, removed, None)


def run_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def bare_xml(port: str) -> str:
    """The device as it is now, not marked as ours, so that the agent leaves it alone."""
    plugged = inventory.Inventory().read(port)
    assert plugged is not None
    return hostdev_xml("bare", Device(identity="", **vars(plugged))).replace("ua-usb-", "ua-bench-")


def main() -> None:
    uuid, port, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=run_events, daemon=True).start()
    connection = libvirt.open("qemu:///system")
    domain = connection.lookupByUUIDString(uuid)
    clock = Clock()
    watch_udev("kernel", port, lambda: clock.saw("kernel"))
    watch_udev("udev", port, lambda: clock.saw("udev"))
    watch_domain(domain, connection, clock)

    seconds: dict[str, list[float]] = {
        "bare libvirt attach": [],
        "kernel's add event to udev's": [],
        "kernel's add event to device-added": [],
    }
    for _ in range(rounds):
        xml = bare_xml(port)
        began = time.perf_counter()
        domain.attachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        seconds["bare libvirt attach"].append(time.perf_counter() - began)
        domain.detachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        time.sleep(SETTLE)

        clock.start()
        print(".", flush=True)
        times = clock.wait("detached")
        seconds["kernel's add event to udev's"].append(times["udev"] - times["kernel"])
        seconds["kernel's add event to device-added"].append(times["attached"] - times["kernel"])
        time.sleep(SETTLE)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
