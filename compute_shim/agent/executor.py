# SPDX-License-Identifier: Apache-2.0
"""Executes a plan on the hypervisor, and resets on the host."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from oslo_context.context import RequestContext
from oslo_log import log

from compute_shim.agent import metrics
from compute_shim.agent.planner import Action, Attach, AttachChannel, Detach, Reset
from compute_shim.agent.relays import Relays
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
    """The result of a plan.

    :param refusals: device id -> reason why the action was refused.
    :param domains: uuid -> the domain after the change, None if it is no longer on this host.
    """

    refusals: dict[str, Reason] = dataclasses.field(default_factory=dict)
    domains: dict[str, Domain | None] = dataclasses.field(default_factory=dict)


def execute(
    actions: Iterable[Action],
    domains: Mapping[str, Domain],
    driver: Driver,
    confirm: Callable[[Device], Device | None],
    request_ids: Mapping[str, str],
    relays: Relays,
) -> Done:
    """Execute the actions in order; a refused action does not stop the others.

    :param domains: uuid -> the domain at the time of planning.
    :param confirm: reads a device again, immediately before the attach: its address may belong to another
        device, or the host may have started to use it. Returns None if it is gone.
    :param request_ids: device id -> the id of the request, for the log.
    :raises HypervisorUnavailable: the connection was lost; the remaining actions are not executed
    """
    done = Done()
    for action in actions:
        context = _log_context(request_ids, action.device_id)
        try:
            before = done.domains.get(action.server_id) or domains[action.server_id]
            done.domains[action.server_id] = _perform(action, before, driver, confirm, relays)
        except HypervisorUnavailable:
            raise
        except HypervisorError as error:
            done.refusals[action.device_id] = error.reason
            _log_refusal(action, error, context)
            if not isinstance(action, Detach):
                metrics.attach_refusals.labels(error.reason.code).inc()
        else:
            LOG.info("Done: %s", action, **context)
    return done


def _perform(
    action: Action,
    before: Domain,
    driver: Driver,
    confirm: Callable[[Device], Device | None],
    relays: Relays,
) -> Domain | None:
    """Execute one action; returns the changed domain, None if it is no longer on this host."""
    if isinstance(action, Detach):
        with metrics.detach_seconds.time():
            return driver.detach(action.server_id, action.device_id, live=action.live, config=action.config)
    if isinstance(action, AttachChannel):
        relays.connected(action.device_id)
        with metrics.attach_seconds.time():
            driver.attach_channel(action.server_id, action.device_id, relays.socket(action.device_id))
        return before.with_channel(action.device_id)
    return before.with_device(action.device_id, _attach(action, driver, confirm))


def _log_refusal(action: Action, error: HypervisorError, context: dict[str, Any]) -> None:
    # While a server is migrated or saved, it is asked again every second.
    level = logging.DEBUG if isinstance(error, HypervisorBusy) else logging.WARNING
    LOG.log(level, "Cannot %s: %s", action, error, **context)


def _log_context(request_ids: Mapping[str, str], device_id: str) -> dict[str, Any]:
    """The request id for log lines (oslo.log: ``context``)."""
    request_id = request_ids.get(device_id)
    return {"context": RequestContext(request_id=request_id, overwrite=False)} if request_id else {}


def _attach(action: Attach, driver: Driver, confirm: Callable[[Device], Device | None]) -> Device:
    """Attach; returns the device as read immediately before."""
    device = confirm(action.device)
    if device is None:
        raise HypervisorError(ReasonCode.DEVICE_GONE)
    if device.blocked is not None:
        raise HypervisorError(device.blocked.code, device.blocked.details)
    with metrics.attach_seconds.time():
        driver.attach(action.server_id, action.device_id, device)
    return device


def reset(
    action: Reset,
    refresh: Callable[[Device], Device | None],
    reset_device: Callable[[Device], None],
    request_ids: Mapping[str, str],
) -> Reason:
    """Reset a device that a server returned; never one that the host uses.

    A failed reset does not make the device unavailable: the next guest resets it again when it detects it,
    and a broken device fails there as well.

    :param refresh: reads a device again, None if it is gone.
    :param reset_device: raises OSError.
    :param request_ids: as for `execute`.
    :returns: the result of the reset
    """
    context = _log_context(request_ids, action.device_id)
    device = refresh(action.device)
    if device is None:
        return Reason(ReasonCode.RESET_SKIPPED, "not reset: the device was unplugged")
    if device.blocked is not None:
        return Reason(ReasonCode.RESET_SKIPPED, f"not reset: {device.blocked.text}")
    try:
        reset_device(device)
    except OSError as error:
        LOG.warning("Cannot reset device %s in port %s: %s", action.device_id, device.port, error, **context)
        return Reason(ReasonCode.RESET_FAILED, f"not reset: {error.strerror}")
    LOG.info("Reset device %s in port %s", action.device_id, device.port, **context)
    return Reason(ReasonCode.RESET)
