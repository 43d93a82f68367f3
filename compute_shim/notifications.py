# SPDX-License-Identifier: Apache-2.0
"""oslo notifications: each event is sent, after it was committed, to whoever listens on the message bus.

They are off until ``[oslo_messaging_notifications] driver`` is set.
``doc/source/admin/notifications.rst`` describes them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import oslo_messaging
from oslo_config import cfg
from oslo_log import log

from compute_shim import bus
from compute_shim.background import Background
from compute_shim.db.api import Database
from compute_shim.objects import ReasonCode, State

LOG = log.getLogger(__name__)

#: MAJOR.MINOR of the payload: a new minor version adds fields, a new major one changes or removes some.
PAYLOAD_VERSION = "1.0"

ATTACH_ERROR, DETACH_ERROR = "usb_device.attach.error", "usb_device.detach.error"

# The first of these that an event fits says what its notification is called. Without a device:
_OF_HOSTS: dict[str, str] = {
    ReasonCode.HOST_DELETED: "usb_host.deleted",
    ReasonCode.HOST_PROBLEM: "usb_host.problem",
    ReasonCode.ALLOCATION_UNFULFILLED: "usb_host.allocation.unfulfilled",
    ReasonCode.RELEASES_HELD: "usb_shim.releases.held",
}
_OF_OPERATORS: dict[str, str] = {
    ReasonCode.DESCRIBED: "usb_device.updated",
    ReasonCode.ENABLED: "usb_device.updated",
    ReasonCode.DISABLED: "usb_device.updated",
    ReasonCode.SHARING_CHANGED: "usb_device.updated",
    ReasonCode.KIND_CHANGED: "usb_device.updated",
    ReasonCode.TRANSPORT_CHANGED: "usb_device.updated",
    ReasonCode.LEASE_CHANGED: "usb_device.lease.changed",
    ReasonCode.LEASE_ENDING: "usb_device.lease.ending",
    ReasonCode.QUEUE_JOINED: "usb_device.queue.joined",
    ReasonCode.QUEUE_LEFT: "usb_device.queue.left",
    ReasonCode.RELEASED: "usb_device.released",
    ReasonCode.FORGOTTEN: "usb_device.forgotten",
    ReasonCode.HOST_DELETED: "usb_device.forgotten",
}
_OF_PLUGS: dict[str, str] = {
    ReasonCode.PLUGGED_IN: "usb_device.plugged",
    ReasonCode.UNPLUGGED: "usb_device.unplugged",
}
_OF_STATES: dict[str, str] = {
    State.ATTACHING: "usb_device.attach.start",
    State.ATTACHED: "usb_device.attach.end",
    State.DETACHING: "usb_device.detach.start",
    State.AVAILABLE: "usb_device.available",
}

# Fields of the payload that are called as in the API -> columns of an event.
_FIELDS = {
    "device_id": "device_id",
    "device_name": "device_name",
    "host": "host",
    "port": "port",
    "cause_code": "cause_code",
    "state": "state",
    "reason_code": "reason_code",
    "state_reason": "state_reason",
    "server_id": "instance_uuid",
    "project_id": "project_id",
    "user_id": "user_id",
    "actor_project_id": "actor_project_id",
    "request_id": "request_id",
}


def start(conf: cfg.ConfigOpts, db: Database) -> None:
    """Send notifications from now on, if the configuration says how.

    :raises compute_shim.daemon.CannotServe: the notification transport's URL cannot be used
    """
    transport = bus.connect_notifications(conf)
    if any(conf.oslo_messaging_notifications.driver):
        # Nobody waits, but what is behind one that cannot be sent should not be lost for it.
        notifier = oslo_messaging.Notifier(transport, publisher_id=f"usb-shim.{conf.host}", retry=1)
        db.on_commit(Notifications(notifier).put)


class Notifications:
    """Sends one notification after the other in the background. What cannot be sent is logged and dropped."""

    def __init__(self, notifier: oslo_messaging.Notifier) -> None:
        self._notifier = notifier
        self._numbers = itertools.count()
        self._background = Background("notifications", self._send)

    def put(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Have events sent.

        :param events: columns of `compute_shim.db.models.Event`.
        """
        lost = [event for event in events if not self._background.put(next(self._numbers), event)]
        if lost:
            LOG.warning("The message bus does not keep up: %s notifications are lost", len(lost))

    def _send(self, number: int, event: Mapping[str, Any]) -> None:
        name = event_type(event)
        send = self._notifier.error if name in (ATTACH_ERROR, DETACH_ERROR) else self._notifier.info
        send({}, name, payload(event))


def event_type(event: Mapping[str, Any]) -> str:
    """What the notification of an event is called."""
    cause, state = event["cause_code"], event["state"]
    if cause in _OF_HOSTS and not event["device_id"]:
        return _OF_HOSTS[cause]
    if cause in _OF_OPERATORS:
        return _OF_OPERATORS[cause]
    if state == State.FAILED:
        return ATTACH_ERROR
    if cause in _OF_PLUGS:
        return _OF_PLUGS[cause]
    if state == State.DETACHING and event["reason_code"]:
        return DETACH_ERROR
    if state in (State.AVAILABLE, State.UNAVAILABLE) and cause == ReasonCode.REQUESTED:
        return "usb_device.detach.end"
    return _OF_STATES.get(state, "usb_device.updated")


def payload(event: Mapping[str, Any]) -> dict[str, Any]:
    """The payload of the notification of an event."""
    return {
        "payload_version": PAYLOAD_VERSION,
        "created_at": f"{event['created_at'].isoformat(timespec='seconds')}Z",
        **{field: event.get(column) or None for field, column in _FIELDS.items()},
    }
