# SPDX-License-Identifier: Apache-2.0
"""What of this host's USB devices may be given away: inventory, rules and the host's own use together."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from compute_shim.agent import device_spec, host_use, inventory
from compute_shim.objects import Claim, Device, Reason, ReasonCode


class Discovery:
    """Looks at the devices of this host.

    :param rules: of ``[usb] device_spec``.
    """

    def __init__(self, rules: list[device_spec.Rule]) -> None:
        self._rules = rules
        self._ports: dict[str, str] = {}

    def use(self, rules: list[device_spec.Rule]) -> None:
        """Judge by other rules from the next scan on. May be called by any thread."""
        self._rules = rules

    def scan(self, claims: Collection[Claim]) -> list[Device]:
        """All devices that are offered, and those known from before that no longer may be.

        :param claims: those on this host's known devices.
        """
        known = {claim.identity for claim in claims}
        held = {
            claim.identity: self._ports.get(claim.identity, claim.port)
            for claim in claims
            if claim.server_id is not None
        }
        plugged = inventory.identify(inventory.scan(), held)
        self._ports = {device.identity: device.port for device in plugged}
        reasons = host_use.reasons()
        return [
            self._judged(device, reasons)
            for device in plugged
            if device.identity in known or device_spec.allows(self._rules, device)
        ]

    def refresh(self, device: Device) -> Device | None:
        """The same device as it is now; None if it is gone, or if another one is in its port."""
        now = inventory.read(device.port)
        if now is None or (now.vendor_id, now.product_id, now.serial) != (
            device.vendor_id,
            device.product_id,
            device.serial,
        ):
            return None
        found = Device(identity=device.identity, **vars(now))
        return self._judged(found, host_use.reasons())

    def _judged(self, device: Device, reasons: dict[str, Reason]) -> Device:
        allowed = device_spec.allows(self._rules, device)
        reason = reasons.get(device.port) if allowed else Reason(ReasonCode.NOT_OFFERED)
        if reason is None:
            return device
        return dataclasses.replace(device, blocked_code=reason.code, blocked_reason=reason.text)
