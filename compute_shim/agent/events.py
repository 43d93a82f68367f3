# SPDX-License-Identifier: Apache-2.0
"""Events that trigger a reconciliation. An event only names what to observe again."""

from __future__ import annotations

import dataclasses

from compute_shim.objects import Claim


@dataclasses.dataclass(frozen=True)
class ClaimsArrived:
    """Claims were received.

    :param complete: these are the claims on all known devices of this host.
    :param request_id: of the request that changed them, None if unknown.
    """

    claims: tuple[Claim, ...]
    complete: bool
    request_id: str | None = None


@dataclasses.dataclass(frozen=True)
class DomainChanged:
    """A domain was started, stopped, defined, undefined, or got or lost a device."""

    uuid: str


class DeviceBound:
    """The kernel has bound a device; udev may not know its name yet."""


class DevicesChanged:
    """A device was plugged in or unplugged."""


class Wiped:
    """A wipe has made progress or is complete."""


class RelaysChanged:
    """A relay has another state, or has ended: its device may have been unplugged."""


class Resync:
    """Observe everything again: periodically, or because the connection to the hypervisor was lost."""


class Stop:
    """Stop the agent."""


Event = ClaimsArrived | DomainChanged | DeviceBound | DevicesChanged | Wiped | RelaysChanged | Resync | Stop
