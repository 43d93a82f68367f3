# SPDX-License-Identifier: Apache-2.0
"""Carries out a plan on the hypervisor, and resets on the host."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from oslo_log import log

from compute_shim.agent import metrics
from compute_shim.agent.planner import Attach, Detach, Reset
from compute_shim.hypervisor.base import (
    Domain,
    Driver,
    HypervisorBusy,
    HypervisorError,
    HypervisorUnavailable,
)
from compute_shim.objects import Device, Reason, ReasonCode

LOG = log.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Done:
    """What became of a plan.

    :param refusals: device id -> why the action was refused.
    :param domains: uuid -> the domain after it was changed, None if it is not on this host any more.
    """

    refusals: dict[str, Reason] = dataclasses.field(default_factory=dict)
    domains: dict[str, Domain | None] = dataclasses.field(default_factory=dict)


def execute(
    actions: Iterable[Detach | Attach],
    driver: Driver,
    look_again: Callable[[Device], Device | None],
) -> Done:
    """Carry out the actions in their order; one that is refused does not stop the others.

    :param look_again: reads a device anew, the moment before it is attached: its address may have become
        another device, or the host may have begun to use it. None: it is gone.
    :raises HypervisorUnavailable: the daemon went away; what is not done yet is not done
    """
    done = Done()
    for action in actions:
        try:
            if isinstance(action, Detach):
                with metrics.detach_seconds.time():
                    domain = driver.detach(
                        action.server_id, action.device_id, live=action.live, config=action.config
                    )
            else:
                domain = _attach(action, driver, look_again)
        except HypervisorUnavailable:
            raise
        except HypervisorBusy as error:
            # It is asked again every second until that is over.
            done.refusals[action.device_id] = error.reason
            LOG.debug("Cannot %s: %s", action, error)
        except HypervisorError as error:
            done.refusals[action.device_id] = error.reason
            LOG.warning("Cannot %s: %s", action, error)
        else:
            done.domains[action.server_id] = domain
            LOG.info("Done: %s", action)
    return done


def _attach(action: Attach, driver: Driver, look_again: Callable[[Device], Device | None]) -> Domain | None:
    device = look_again(action.device)
    if device is None:
        raise HypervisorError(ReasonCode.DEVICE_GONE)
    if device.blocked is not None:
        raise HypervisorError(device.blocked.code, device.blocked.details)
    with metrics.attach_seconds.time():
        return driver.attach(action.server_id, action.device_id, device)


def reset(
    action: Reset,
    look_again: Callable[[Device], Device | None],
    reset_device: Callable[[Device], None],
) -> Reason:
    """Reset a device that a server gave back; never one that the host uses.

    A reset that fails does not keep the device: the next guest resets it again when it finds it, and a
    device that is broken would fail there as well.

    :param look_again: as for `execute`.
    :param reset_device: raises OSError.
    :returns: what became of it
    """
    device = look_again(action.device)
    if device is None:
        return Reason(ReasonCode.RESET_SKIPPED, "not reset: the device was unplugged")
    if device.blocked is not None:
        return Reason(ReasonCode.RESET_SKIPPED, f"not reset: {device.blocked.text}")
    try:
        reset_device(device)
    except OSError as error:
        LOG.warning("Cannot reset device %s in port %s: %s", action.device_id, device.port, error)
        return Reason(ReasonCode.RESET_FAILED, f"not reset: {error.strerror}")
    LOG.info("Reset device %s in port %s", action.device_id, device.port)
    return Reason(ReasonCode.RESET)
