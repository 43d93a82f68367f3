# SPDX-License-Identifier: Apache-2.0
"""What of this host's USB devices may be given away: inventory, rules and the host's own use together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection

from compute_shim.agent import device_spec, inventory
from compute_shim.agent.identity import Identifier
from compute_shim.objects import Claim, Device, Plugged, Reason, ReasonCode


class Discovery:
    """Looks at the devices of this host.

    :param rules: of ``[usb] device_spec``.
    :param used: port -> why the device there cannot be given away, of these ports.
    """

    def __init__(
        self, rules: list[device_spec.Rule], used: Callable[[Collection[str]], dict[str, Reason]]
    ) -> None:
        self._rules = rules
        self._used = used
        self._inventory = inventory.Inventory()
        self._identifier = Identifier()
        self._plugged: list[Plugged] = []
        # Port -> why the device there cannot be given away, None if it can; of those looked at in this scan.
        self._reasons: dict[str, Reason | None] = {}

    def use(self, rules: list[device_spec.Rule]) -> None:
        """Judge by other rules from the next scan on. May be called by any thread."""
        self._rules = rules

    def offers(self, device: Plugged) -> bool:
        """Whether the rules allow a device, whatever the host does with it."""
        return device_spec.allows(self._rules, device)

    def scan(self, claims: Collection[Claim]) -> list[Device]:
        """All devices that are offered, and those known from before that no longer may be.

        :param claims: those on this host's known devices.
        """
        self._plugged = self._inventory.scan()
        self._reasons = {}
        return self.identify(claims)

    def identify(self, claims: Collection[Claim]) -> list[Device]:
        """What the last scan saw, by other claims."""
        found = self._identifier.identify(
            self._plugged, claims, lambda item: device_spec.follows(self._rules, item)
        )
        offered = [device for device in found if device.device_id is not None or self.offers(device)]
        self._look([device.port for device in offered if device.port not in self._reasons])
        return [self._judged(device, self._reasons[device.port]) for device in offered]

    def _look(self, ports: Collection[str]) -> None:
        """See what the host does with the devices in some ports."""
        if ports:
            self._reasons |= dict.fromkeys(ports) | self._used(ports)

    def refresh(self, device: Device) -> Device | None:
        """The same device as it is now; None if it is gone, whatever is in its port instead."""
        now = self._inventory.read(device.port)
        if now is None or now.socket != device.socket or device.plug_id not in (None, now.plug_id):
            return None
        if device.plug_id is None:
            return device  # in doubt, and still blocked by that
        found = dataclasses.replace(device, **vars(now), blocked_code=None, blocked_reason=None)
        return self._judged(found, self._used([device.port]).get(device.port))

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
        )
        return device if used is None else _blocked(device, used)


def _blocked(device: Device, reason: Reason) -> Device:
    return dataclasses.replace(device, blocked_code=reason.code, blocked_reason=reason.text)
