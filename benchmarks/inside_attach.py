# SPDX-License-Identifier: Apache-2.0
"""Runs in the lab host: what an attach costs by a bare call to libvirt, and by the agent.

Usage: inside_attach.py DOMAIN_UUID PORT ROUNDS. Prints JSON: seconds of each round. Both are measured as a
host has them: the bare call on one without an agent, where the host's driver has the device; the agent with
its shield, as it is by default. A bare call with the shield on is the third.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Collection, Iterable

from compute_shim.cmd import native_threads  # noqa: F401  before all that follow

# isort: split
import libvirt

from compute_shim.agent import device_spec
from compute_shim.agent.agent import Agent
from compute_shim.agent.discovery import Discovery
from compute_shim.agent.host_use import HostUse
from compute_shim.agent.shield import Shield
from compute_shim.hypervisor.libvirt.config import hostdev_xml
from compute_shim.hypervisor.libvirt.qemu import Qemu
from compute_shim.objects import Claim, ClaimStatus, Device, State

DEVICE_ID = "benchmark"
NEVER = 3600.0
SETTLE = 3.0  # seconds in which the driver and udev of the host have the device again


class Listener:
    """Takes the place of the reporter: knows what is plugged, and tells when a claim is fulfilled."""

    def __init__(self) -> None:
        self.plugged: list[Device] | None = None
        self._outcome: ClaimStatus | None = None
        self._changed = threading.Condition()

    def devices(
        self, hypervisor: str, devices: list[Device], problems: list[str], *, identified: bool
    ) -> None:
        with self._changed:
            self.plugged = devices
            self._changed.notify_all()

    def servers(self, domains: object) -> None:
        pass

    def outcomes(self, outcomes: Iterable[ClaimStatus], request_ids: object) -> None:
        with self._changed:
            self._outcome = next((item for item in outcomes if item.device_id == DEVICE_ID), None)
            self._changed.notify_all()

    def wait_devices(self) -> list[Device]:
        with self._changed:
            assert self._changed.wait_for(lambda: self.plugged is not None, timeout=60)
            return self.plugged or []

    def wait(self, generation: int, state: State) -> None:
        with self._changed:
            if not self._changed.wait_for(
                lambda: (
                    self._outcome is not None
                    and (self._outcome.generation, self._outcome.state) == (generation, state)
                ),
                timeout=60,
            ):
                raise SystemExit(f"waited for {state}, got {self._outcome}")


def main() -> None:
    uuid, port, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    host = Qemu("qemu:///system")
    listener = Listener()
    discovery = Discovery(device_spec.parse(["{}"]), HostUse(host.is_server).reasons)
    shield = Shield(discovery.offers)
    shielding = threading.Event()

    def on_look(devices: Collection[Device]) -> None:
        if shielding.is_set():
            shield.update(devices)
        else:
            shield.remove()

    agent = Agent(host, discovery, listener, NEVER, shield=on_look)  # type: ignore[arg-type]
    threading.Thread(target=agent.run, daemon=True).start()
    device = next(item for item in listener.wait_devices() if item.port == port)
    agent.claims_arrived([Claim(DEVICE_ID, device.identity, port, 0)], complete=True)
    domain = libvirt.open("qemu:///system").lookupByUUIDString(uuid)
    # Not marked as ours, so that the agent leaves it alone.
    xml = hostdev_xml("bare", device).replace("ua-usb-", "ua-bench-")

    def attach_bare() -> float:
        began = time.perf_counter()
        domain.attachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        took = time.perf_counter() - began
        domain.detachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        time.sleep(SETTLE)
        return took

    def shield_all(is_on: bool) -> None:
        if is_on:
            shielding.set()
        else:
            shielding.clear()
        agent.devices_changed()
        time.sleep(SETTLE)

    seconds: dict[str, list[float]] = {"bare": [], "shielded": [], "agent": []}
    for number in range(rounds):
        shield_all(False)
        seconds["bare"].append(attach_bare())
        shield_all(True)
        seconds["shielded"].append(attach_bare())
        # QEMU gave the device back to the host's driver.
        shield_all(True)
        generation = 2 * number + 1
        began = time.perf_counter()
        agent.claims_arrived([Claim(DEVICE_ID, device.identity, port, generation, uuid)], complete=False)
        listener.wait(generation, State.ATTACHED)
        seconds["agent"].append(time.perf_counter() - began)
        agent.claims_arrived([Claim(DEVICE_ID, device.identity, port, generation + 1)], complete=False)
        listener.wait(generation + 1, State.AVAILABLE)
        time.sleep(SETTLE)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
