# SPDX-License-Identifier: Apache-2.0
"""Discovers the USB devices that this host offers, from the inventory, the rules and the host's use."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection

from compute_shim.agent import device_spec, inventory
from compute_shim.agent.identity import Identifier
from compute_shim.objects import Claim, Device, Plugged, Reason, ReasonCode

# A look at the host's use is not repeated as soon as it has ended: the next one would take as long as the
# result is old. One that waited for a moment's use to end is repeated after this time in any case.
_RECENT_SECONDS = 0.2


class Discovery:
    """Scans the devices of this host.

    :param rules: of ``[usb] device_spec``.
    :param used: port -> reason why the device there cannot be offered, for given ports.
    :param clock: seconds that only grow.
    """

    def __init__(
        self,
        rules: list[device_spec.Rule],
        used: Callable[[Collection[str]], dict[str, Reason]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules
        self._used = used
        self._clock = clock
        self._inventory = inventory.Inventory()
        self._identifier = Identifier()
        self._plugged: list[Plugged] = []
        # Port -> why the device there cannot be given away, None if it can; of those looked at in this scan.
        self._reasons: dict[str, Reason | None] = {}
        # Port -> when that look began, and how long it took.
        self._looks: dict[str, tuple[float, float]] = {}

    def use(self, rules: list[device_spec.Rule]) -> None:
        """Use other rules from the next scan on. Thread-safe."""
        self._rules = rules

    def offers(self, device: Plugged) -> bool:
        """Whether the rules allow a device, regardless of host use."""
        return device_spec.allows(self._rules, device)

    def scan(self, claims: Collection[Claim]) -> list[Device]:
        """All offered devices, and known devices that are no longer offered.

        :param claims: the claims on this host's known devices.
        """
        self._plugged = self._inventory.scan()
        self._reasons, self._looks = {}, {}
        return self.identify(claims)

    def identify(self, claims: Collection[Claim]) -> list[Device]:
        """Identify the devices of the last scan by other claims."""
        found = self._identifier.identify(
            self._plugged, claims, lambda item: device_spec.follows(self._rules, item)
        )
        offered = [device for device in found if device.device_id is not None or self.offers(device)]
        self._look([device.port for device in offered if device.port not in self._reasons])
        return [self._judged(device, self._reasons[device.port]) for device in offered]

    def _look(self, ports: Collection[str]) -> None:
        """Check the host's use of the devices in some ports."""
        if ports:
            began = self._clock()
            self._reasons |= dict.fromkeys(ports) | self._used(ports)
            self._looks |= dict.fromkeys(ports, (began, self._clock() - began))

    def confirm(self, device: Device) -> Device | None:
        """As `refresh`, but the host's use of the device may be from a scan that has just looked at it."""
        began, took = self._looks.get(device.port, (0.0, 0.0))
        if self._clock() - began > min(2 * took, _RECENT_SECONDS):
            return self.refresh(device)
        return self._reread(device, lambda port: self._reasons[port])

    def refresh(self, device: Device) -> Device | None:
        """The current state of a device; None if it is gone, even if another device is in its port."""
        return self._reread(device, lambda port: self._used([port]).get(port))

    def _reread(self, device: Device, use: Callable[[str], Reason | None]) -> Device | None:
        now = self._inventory.read(device.port)
        if now is None or now.socket != device.socket or device.plug_id not in (None, now.plug_id):
            return None
        if device.plug_id is None:
            return device  # in doubt, and still blocked by that
        found = dataclasses.replace(device, **vars(now), blocked_code=None, blocked_reason=None)
        return self._judged(found, use(device.port))

    def _judged(self, device: Device, used: Reason | None) -> Device:
        rule = device_spec.decide(self._rules, device)
        device = dataclasses.replace(device, rule="" if rule is None else f"{rule.number}: {rule.text}")
        if rule is None or not rule.allow:
            return _blocked(device, Reason(ReasonCode.NOT_OFFERED))
        device = dataclasses.replace(
            device,
            shared=rule.shared,
            projects=rule.projects,
            kind=rule.kind,
            handover=rule.handover_of(device),
            over_network=rule.network,
        )
        return device if used is None else _blocked(device, used)


def _blocked(device: Device, reason: Reason) -> Device:
    return dataclasses.replace(device, blocked_code=reason.code, blocked_reason=reason.text)
