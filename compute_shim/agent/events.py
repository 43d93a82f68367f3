# SPDX-License-Identifier: Apache-2.0
"""What may make a host differ from its claims: events, which only enqueue a look at what they name."""

from __future__ import annotations

import dataclasses

from compute_shim.objects import Claim


@dataclasses.dataclass(frozen=True)
class ClaimsArrived:
    """The intent changed.

    :param complete: these are the claims on all known devices of this host.
    :param request_id: of the request that changed it, None where that is not known.
    """

    claims: tuple[Claim, ...]
    complete: bool
    request_id: str | None = None


@dataclasses.dataclass(frozen=True)
class DomainChanged:
    """A domain was started, stopped, defined, undefined, or got or lost a device."""

    uuid: str


class DeviceBound:
    """A device can be used; udev may not know its name yet."""


class DevicesChanged:
    """A device was plugged in or unplugged."""


class Wiped:
    """A device is wiped, or some more of it."""


class Resync:
    """Everything may have changed: the periodic one, or the hypervisor's daemon went away."""


class Stop:
    """The agent is to end."""


Event = ClaimsArrived | DomainChanged | DeviceBound | DevicesChanged | Wiped | Resync | Stop
