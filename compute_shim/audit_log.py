# SPDX-License-Identifier: Apache-2.0
"""Changes that somebody requested, in the log; the line's context names the request and the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from oslo_log import log

from compute_shim.objects import ReasonCode, State
from novaclient_usb.reason_codes import describe

LOG = log.getLogger(__name__)


def write(events: Sequence[Mapping[str, Any]]) -> None:
    """Log those of committed events that somebody requested.

    :param events: columns of `compute_shim.db.models.Event`.
    """
    for event in events:
        if event["request_id"] is not None:
            LOG.info("%s", _text(event))


def _text(event: Mapping[str, Any]) -> str:
    device, cause = event["device_id"], event["cause_code"]
    if not device:
        return f"Host {event['host']}: {describe(cause)}"
    if cause == ReasonCode.REQUESTED and event["state"] == State.ATTACHING:
        return f"Attach of device {device} to server {event['instance_uuid']} requested"
    if cause == ReasonCode.REQUESTED and event["state"] == State.DETACHING:
        return f"Detach of device {device} from server {event['instance_uuid']} requested"
    return f"Device {device}: {describe(cause)}"
