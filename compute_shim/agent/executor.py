# SPDX-License-Identifier: Apache-2.0
"""Carries out a plan on the hypervisor."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from oslo_log import log

from compute_shim.agent.planner import Attach, Detach
from compute_shim.hypervisor.base import Driver, HypervisorError, HypervisorUnavailable
from compute_shim.objects import Device

LOG = log.getLogger(__name__)


def execute(
    actions: Iterable[Detach | Attach],
    driver: Driver,
    look_again: Callable[[Device], Device | None],
) -> dict[str, str]:
    """Carry out the actions in their order; one that is refused does not stop the others.

    :param look_again: reads a device anew, the moment before it is attached: its address may have become
        another device, or the host may have begun to use it. None: it is gone.
    :returns: device id -> why it was refused.
    :raises HypervisorUnavailable: the daemon went away; what is not done yet is not done
    """
    refusals: dict[str, str] = {}
    for action in actions:
        try:
            if isinstance(action, Detach):
                driver.detach(action.server_id, action.device_id, live=action.live, config=action.config)
            else:
                _attach(action, driver, look_again)
        except HypervisorUnavailable:
            raise
        except HypervisorError as error:
            refusals[action.device_id] = str(error)
            LOG.warning("Cannot %s: %s", action, error)
        else:
            LOG.info("Done: %s", action)
    return refusals


def _attach(action: Attach, driver: Driver, look_again: Callable[[Device], Device | None]) -> None:
    device = look_again(action.device)
    if device is None:
        raise HypervisorError("the device went away before it could be attached")
    if device.blocked_reason is not None:
        raise HypervisorError(device.blocked_reason)
    driver.attach(action.server_id, action.device_id, device)
