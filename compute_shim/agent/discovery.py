# SPDX-License-Identifier: Apache-2.0
"""What of this host's USB devices may be given away: inventory, rules and the host's own use together."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from compute_shim.agent import device_spec, host_use, inventory
from compute_shim.agent.identity import Identifier
from compute_shim.objects import Claim, Device, Plugged, Reason, ReasonCode


class Discovery:
    """Looks at the devices of this host.

    :param rules: of ``[usb] device_spec``.
    """

    def __init__(self, rules: list[device_spec.Rule]) -> None:
        self._rules = rules
        self._identifier = Identifier()
        self._plugged: list[Plugged] = []
        self._reasons: dict[str, Reason] = {}

    def use(self, rules: list[device_spec.Rule]) -> None:
        """Judge by other rules from the next scan on. May be called by any thread."""
        self._rules = rules

    def scan(self, claims: Collection[Claim]) -> list[Device]:
        """All devices that are offered, and those known from before that no longer may be.

        :param claims: those on this host's known devices.
        """
        self._plugged = inventory.scan()
        self._reasons = host_use.reasons()
        return self.identify(claims)

    def identify(self, claims: Collection[Claim]) -> list[Device]:
        """What the last scan saw, by other claims."""
        found = self._identifier.identify(
            self._plugged, claims, lambda item: device_spec.follows(self._rules, item)
        )
        return [
            self._judged(device, self._reasons)
            for device in found
            if device.device_id is not None or device_spec.allows(self._rules, device)
        ]

    def refresh(self, device: Device) -> Device | None:
        """The same device as it is now; None if it is gone, whatever is in its port instead."""
        now = inventory.read(device.port)
        if now is None or now.socket != device.socket or device.plug_id not in (None, now.plug_id):
            return None
        if device.plug_id is None:
            return device  # in doubt, and still blocked by that
        found = dataclasses.replace(device, **vars(now), blocked_code=None, blocked_reason=None)
        return self._judged(found, host_use.reasons())

    def _judged(self, device: Device, reasons: dict[str, Reason]) -> Device:
        allowed = device_spec.allows(self._rules, device)
        reason = reasons.get(device.port) if allowed else Reason(ReasonCode.NOT_OFFERED)
        if reason is None:
            return device
        return dataclasses.replace(device, blocked_code=reason.code, blocked_reason=reason.text)
