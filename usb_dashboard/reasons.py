# SPDX-License-Identifier: Apache-2.0
"""Reason codes in words (translated): of states, causes of events, and unmet conditions."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from novaclient_usb.reason_codes import DESCRIPTIONS
from novaclient_usb.reason_codes import ReasonCode as C

_HOST_USES_IT = _("the compute host uses it")

#: What stands behind the state, lower case and without a period: for each code that has a description.
TEXTS: dict[C, Any] = {
    C.UNPLUGGED: _("unplugged"),
    C.SERVER_OFF: _("the instance is not running"),
    C.SERVER_ON_OTHER_HOST: _("the instance is on another host"),
    C.SERVER_SHELVED: _("the instance is shelved"),
    C.SERVER_BUSY: _("the instance is being migrated or saved"),
    C.DOMAIN_ABSENT: _("the instance is not running on the host of the device"),
    C.IDENTITY_IN_DOUBT: _(
        "a device like this one was moved or is missing; contact your cloud administrator"
    ),
    C.NOT_OFFERED: _("no [usb] device_spec rule allows it"),
    C.DISABLED: _("disabled by the cloud administrator"),
    C.HOST_DOWN: _("its host does not answer"),
    C.IN_USE: _("in use by another project"),
    C.HOST_MOUNT: _HOST_USES_IT,
    C.HOST_SWAP: _HOST_USES_IT,
    C.HOST_VOLUME: _HOST_USES_IT,
    C.HOST_NETWORK: _HOST_USES_IT,
    C.HOST_PROCESS: _HOST_USES_IT,
    C.HOST_USE: _HOST_USES_IT,
    C.NOT_AUTHORIZED: _("the compute host has not authorized it; contact your cloud administrator"),
    C.NOT_CONFIGURED: _("the compute host has not configured it; unplug it and plug it in again"),
    C.HELD: _("another project had it; the cloud administrator has yet to release it"),
    C.WIPING: _("its contents are being overwritten"),
    C.WIPE_FAILED: _("its contents could not be overwritten; contact your cloud administrator"),
    C.PORT_OCCUPIED: _("a different device is plugged into its port"),
    C.DUPLICATE_CLAIM: _("another claim names the same device"),
    C.ATTACHED_MANUALLY: _("an administrator attached it to an instance manually"),
    C.HELD_BY_DOMAIN: _("another instance on the same host holds it; contact your cloud administrator"),
    C.DEVICE_GONE: _("it was unplugged before it could be attached"),
    C.DEVICE_UNUSABLE: _("the hypervisor cannot use it; unplug it and plug it in again"),
    C.NO_USB_CONTROLLER: _("the instance has no USB controller; contact your cloud administrator"),
    C.NO_FREE_USB_PORT: _("all USB ports of the instance are in use; detach another USB device from it"),
    C.SPEED_MISMATCH: _("the USB controller of the instance does not support the speed of the device"),
    C.OPEN_IN_SERVER: _("a program in the instance still uses it; end that program"),
    C.NOT_REMOVED: _("the hypervisor has not removed it yet"),
    C.HYPERVISOR_ERROR: _("the hypervisor refused it"),
    C.CHANNEL_CONNECTING: _("it is used over the network, and the hosts are being connected"),
    C.CHANNEL_UNREACHABLE: _("the hosts of the device and the instance cannot reach each other"),
    C.CHANNEL_REFUSED: _(
        "the hosts of the device and the instance do not trust each other; contact the cloud administrator"
    ),
    C.CHANNEL_FAILED: _("the connection between the hosts of the device and the instance failed"),
    C.CHANNEL_LIMIT: _("the compute host has reached its limit of connections"),
    C.NO_NETWORK_TRANSPORT: _("a host does not support USB over the network"),
    C.RESET: _("reset after use"),
    C.RESET_SKIPPED: _("not reset after use"),
    C.RESET_FAILED: _("the reset after use failed"),
    C.WIPED: _("contents overwritten"),
    C.REQUESTED: _("requested"),
    C.PLUGGED_IN: _("plugged in"),
    C.SERVER_STARTED: _("instance started"),
    C.SERVER_STOPPED: _("instance stopped"),
    C.SERVER_MOVED: _("instance moved"),
    C.SERVER_UNSHELVED: _("instance unshelved"),
    C.SERVER_DELETED: _("instance deleted"),
    C.RETRIED: _("tried again"),
    C.CONNECTION_CHANGED: _("connection changed"),
    C.HOST_USE_CHANGED: _("use by the host changed"),
    C.DESCRIBED: _("description changed"),
    C.ENABLED: _("enabled"),
    C.SHARING_CHANGED: _("sharing changed"),
    C.KIND_CHANGED: _("kind changed"),
    C.TRANSPORT_CHANGED: _("transport changed"),
    C.LEASE_CHANGED: _("lease changed"),
    C.LEASE_ENDING: _("lease ends soon"),
    C.LEASE_ENDED: _("lease ended"),
    C.QUEUE_JOINED: _("queue joined"),
    C.QUEUE_LEFT: _("queue left"),
    C.QUEUE_SERVED: _("next in the queue"),
    C.ALLOCATED: _("requested by the flavor"),
    C.ALLOCATION_ENDED: _("no longer in the flavor"),
    C.ALLOCATION_UNFULFILLED: _("no device for the flavor"),
    C.FORGOTTEN: _("forgotten"),
    C.RELEASED: _("released by the cloud administrator"),
    C.HOST_DELETED: _("host deleted"),
    C.RELEASES_HELD: _("releases held back"),
    C.HOST_PROBLEM: _("problem on the host"),
    C.SURPLUS: _("the host reported too many devices"),
    C.FORBIDDEN: _("your role in the project does not allow it"),
    C.SERVER_LOCKED: _("the instance is locked"),
    C.SERVER_NOT_ON_HOST: _("the instance is on no host; start it first"),
    C.DEVICE_ON_OTHER_HOST: _("the device is on a different host than the instance"),
    C.NETWORK_NOT_ALLOWED: _("it may not be used over the network"),
    C.DEVICE_TAKEN: _("another instance has it"),
    C.DEVICE_NOT_SHARED: _("it is not shared with the project"),
    C.QUOTA_EXCEEDED: _("the quota of the project is used up"),
    C.TOO_MANY_DEVICES: _("the instance has reached its limit of USB devices"),
    C.QUEUED_FOR_OTHERS: _("other instances are in the queue for it"),
    C.KIND_NOT_FREE: _("no device of the kind is free that the instance can use"),
    C.FLAPPING: _("changes too often; unrequested changes are not recorded for up to an hour"),
}

#: What must be true for a device to be attached (`explain` of the service).
CONDITIONS = {
    "offered": _("A rule of its host allows the device"),
    "shared": _("The device is shared with the project"),
    "enabled": _("The device is enabled"),
    "plugged_in": _("The device is plugged in"),
    "host_up": _("Its host answers"),
    "unused_by_host": _("The compute host does not use the device"),
    "handed_over": _("The device may go to another project"),
    "free": _("No other instance has the device"),
    "allowed": _("Your role allows it"),
    "unlocked": _("The instance is not locked"),
    "on_a_host": _("The instance is on a host"),
    "same_host": _("Instance and device are on the same host"),
    "first_in_line": _("No other instance is in the queue for the device"),
    "usb_port": _("The instance has a free USB port"),
    "server_limit": _("The instance has not reached its limit of USB devices"),
    "quota": _("The project has not reached its quota of USB devices"),
}

# States whose reason says what happens next as well, or that need no reason.
_WHOLE = {
    ("waiting", C.UNPLUGGED): _("Waiting: unplugged. Attached again when plugged in."),
    ("waiting", C.SERVER_OFF): _("Waiting: the instance is not running. Attached when it starts."),
    ("waiting", C.SERVER_SHELVED): _("Waiting: the instance is shelved. Attached when it runs again."),
    ("unavailable", C.IN_USE): _("In use by another project"),
    ("available", C.RESET): _("Available (reset after use)"),
    ("available", C.RESET_SKIPPED): _("Available (not reset after use)"),
    ("available", C.WIPED): _("Available (contents overwritten)"),
}


def of_state(state: str, code: str | None) -> Any:
    """State and reason as one text; None if there is none but the usual one."""
    return _WHOLE.get((state, code))  # type: ignore[arg-type]


def text(code: str | None, sent: str | None) -> str | None:
    """A reason (translated), and what the service says beyond that, which it does to administrators.

    :param sent: the text that the service has sent with the code.
    """
    known = TEXTS.get(code)  # type: ignore[call-overload]
    if known is None:
        return sent
    details = "" if sent in (None, DESCRIPTIONS[code]) else f" ({sent})"  # type: ignore[index]
    return f"{known}{details}"
