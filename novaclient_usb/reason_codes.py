# SPDX-License-Identifier: Apache-2.0
"""Reason codes: why a device is in its state, what caused an event, why a request was refused.

Programs, filters and translations use the code (``reason_code`` and ``cause_code`` in JSON). The text is for
display only and can change at any time. The meaning of a code never changes; codes can be added.

This module needs only the standard library: the service, the agent and all clients share it.
"""

from __future__ import annotations

import enum


class ReasonCode(enum.StrEnum):
    """All reason codes of the USB passthrough service."""

    # State ``waiting``: what the claim waits for.
    UNPLUGGED = "unplugged"
    SERVER_OFF = "server_off"
    SERVER_ON_OTHER_HOST = "server_on_other_host"
    SERVER_SHELVED = "server_shelved"
    SERVER_BUSY = "server_busy"
    DOMAIN_ABSENT = "domain_absent"
    # `KIND_NOT_FREE` belongs here as well. This is a reason of ``unavailable`` as well.
    IDENTITY_IN_DOUBT = "identity_in_doubt"

    # State ``unavailable``, and ``failed`` where it happened to a claim. `UNPLUGGED` belongs here as well.
    NOT_OFFERED = "not_offered"
    DISABLED = "disabled"
    HOST_DOWN = "host_down"
    IN_USE = "in_use"
    HOST_MOUNT = "host_mount"
    HOST_SWAP = "host_swap"
    HOST_VOLUME = "host_volume"
    HOST_NETWORK = "host_network"
    HOST_PROCESS = "host_process"
    HOST_USE = "host_use"
    NOT_AUTHORIZED = "not_authorized"
    NOT_CONFIGURED = "not_configured"
    HELD = "held"
    WIPING = "wiping"
    WIPE_FAILED = "wipe_failed"

    # State ``failed``: why the device was not attached; with ``detaching``, why it is not detached yet.
    PORT_OCCUPIED = "port_occupied"
    DUPLICATE_CLAIM = "duplicate_claim"
    ATTACHED_MANUALLY = "attached_manually"
    HELD_BY_DOMAIN = "held_by_domain"
    DEVICE_GONE = "device_gone"
    DEVICE_UNUSABLE = "device_unusable"
    NO_USB_CONTROLLER = "no_usb_controller"
    NO_FREE_USB_PORT = "no_free_usb_port"
    SPEED_MISMATCH = "speed_mismatch"
    OPEN_IN_SERVER = "open_in_server"
    NOT_REMOVED = "not_removed"
    HYPERVISOR_ERROR = "hypervisor_error"
    # Over the network, from one host to another; with ``waiting`` or ``failed``.
    CHANNEL_CONNECTING = "channel_connecting"
    CHANNEL_UNREACHABLE = "channel_unreachable"
    CHANNEL_REFUSED = "channel_refused"
    CHANNEL_FAILED = "channel_failed"
    CHANNEL_LIMIT = "channel_limit"
    NO_NETWORK_TRANSPORT = "no_network_transport"

    # Event with the state ``available``: the reset between two users of the device.
    RESET = "reset"
    RESET_SKIPPED = "reset_skipped"
    RESET_FAILED = "reset_failed"
    WIPED = "wiped"

    # Cause of an event. `UNPLUGGED`, `SERVER_SHELVED`, `SERVER_BUSY` and `DISABLED` belong here as well.
    REQUESTED = "requested"
    PLUGGED_IN = "plugged_in"
    SERVER_STARTED = "server_started"
    SERVER_STOPPED = "server_stopped"
    SERVER_MOVED = "server_moved"
    SERVER_UNSHELVED = "server_unshelved"
    SERVER_DELETED = "server_deleted"
    RETRIED = "retried"
    CONNECTION_CHANGED = "connection_changed"
    HOST_USE_CHANGED = "host_use_changed"
    DESCRIBED = "described"
    ENABLED = "enabled"
    SHARING_CHANGED = "sharing_changed"
    KIND_CHANGED = "kind_changed"
    TRANSPORT_CHANGED = "transport_changed"
    LEASE_CHANGED = "lease_changed"
    LEASE_ENDING = "lease_ending"
    LEASE_ENDED = "lease_ended"
    QUEUE_JOINED = "queue_joined"
    QUEUE_LEFT = "queue_left"
    QUEUE_SERVED = "queue_served"
    ALLOCATED = "allocated"
    ALLOCATION_ENDED = "allocation_ended"
    ALLOCATION_UNFULFILLED = "allocation_unfulfilled"
    FORGOTTEN = "forgotten"
    RELEASED = "released"
    HOST_DELETED = "host_deleted"
    RELEASES_HELD = "releases_held"
    HOST_PROBLEM = "host_problem"
    # Reason of an event: of `FORGOTTEN`, and of the last one that is recorded for a time.
    SURPLUS = "surplus"
    FLAPPING = "flapping"

    # Error of a request.
    INVALID_INPUT = "invalid_input"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    PATH_NOT_FOUND = "path_not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    VERSION_NOT_SUPPORTED = "version_not_supported"
    BODY_TOO_LARGE = "body_too_large"
    GENERATION_MISMATCH = "generation_mismatch"
    SERVER_NOT_FOUND = "server_not_found"
    DEVICE_NOT_FOUND = "device_not_found"
    ATTACHMENT_NOT_FOUND = "attachment_not_found"
    HOST_NOT_FOUND = "host_not_found"
    SERVER_LOCKED = "server_locked"
    SERVER_NOT_ON_HOST = "server_not_on_host"
    DEVICE_ON_OTHER_HOST = "device_on_other_host"
    NETWORK_NOT_ALLOWED = "network_not_allowed"
    DEVICE_TAKEN = "device_taken"
    DEVICE_UNAVAILABLE = "device_unavailable"
    DEVICE_NOT_SHARED = "device_not_shared"
    QUOTA_EXCEEDED = "quota_exceeded"
    TOO_MANY_DEVICES = "too_many_devices"
    KIND_NOT_FOUND = "kind_not_found"
    KIND_NOT_FREE = "kind_not_free"
    QUEUE_ENTRY_NOT_FOUND = "queue_entry_not_found"
    QUEUE_FULL = "queue_full"
    QUEUED_FOR_OTHERS = "queued_for_others"
    DEVICE_DETACHING = "device_detaching"
    DEVICE_RELEASED = "device_released"
    DEVICE_PLUGGED_IN = "device_plugged_in"
    DEVICE_CLAIMED = "device_claimed"
    DEVICE_NOT_CLAIMED = "device_not_claimed"
    DEVICE_ALLOCATED = "device_allocated"
    HOST_UP = "host_up"
    COMPUTE_UNAVAILABLE = "compute_unavailable"
    IDENTITY_UNAVAILABLE = "identity_unavailable"
    DATABASE_UNAVAILABLE = "database_unavailable"
    TIMEOUT = "timeout"
    INTERNAL_ERROR = "internal_error"
    # An error of a library below that has no code of its own.
    HTTP_ERROR = "http_error"


_C = ReasonCode

_HOST_USES_IT = "the compute host uses the device"
#: The remedy for a server whose USB controller is missing or outdated. With the default USB tablet Nova
#: ignores the model and adds an old controller (nova, virt/libvirt/driver.py:
#: _guest_add_usb_root_controller).
USE_XHCI = (
    "set hw:usb_model=qemu-xhci on the flavor or hw_usb_model=qemu-xhci on the image, and hw_input_bus=virtio"
    " on the image; then resize or rebuild the server"
)

#: The number of ports of that controller in a Nova domain, which does not specify it.
XHCI_PORTS = 4

#: Codes of states, causes and unmet conditions -> text for all users: lower case, no period, no details of
#: the host. Errors of requests have a separate message.
DESCRIPTIONS: dict[ReasonCode, str] = {
    _C.UNPLUGGED: "the device is unplugged",
    _C.SERVER_OFF: "the server is not running",
    _C.SERVER_ON_OTHER_HOST: "the server is on another host",
    _C.SERVER_SHELVED: "the server is shelved",
    _C.SERVER_BUSY: "the server is being migrated or saved",
    _C.DOMAIN_ABSENT: "the server is not running on the device's host",
    _C.IDENTITY_IN_DOUBT: "a device like this one was moved or is missing; contact the cloud administrator",
    _C.NOT_OFFERED: "no [usb] device_spec rule allows the device",
    _C.DISABLED: "disabled by the cloud administrator",
    _C.HOST_DOWN: "the USB agent on the device's host is down",
    _C.IN_USE: "in use by another project",
    _C.HOST_MOUNT: _HOST_USES_IT,
    _C.HOST_SWAP: _HOST_USES_IT,
    _C.HOST_VOLUME: _HOST_USES_IT,
    _C.HOST_NETWORK: _HOST_USES_IT,
    _C.HOST_PROCESS: _HOST_USES_IT,
    _C.HOST_USE: _HOST_USES_IT,
    _C.NOT_AUTHORIZED: "the compute host has not authorized the device; contact the cloud administrator",
    _C.NOT_CONFIGURED: "the compute host has not configured the device; unplug it and plug it in again",
    _C.HELD: "another project had the device; the cloud administrator must release it first",
    _C.WIPING: "the data on the device is being overwritten",
    _C.WIPE_FAILED: "the data on the device could not be overwritten; contact the cloud administrator",
    _C.PORT_OCCUPIED: "a different device is plugged into the device's port",
    _C.DUPLICATE_CLAIM: "another claim names the same device",
    _C.ATTACHED_MANUALLY: "an administrator attached the device to a server manually",
    _C.HELD_BY_DOMAIN: "another server on the same host holds the device; contact the cloud administrator",
    _C.DEVICE_GONE: "the device was unplugged before it could be attached",
    _C.DEVICE_UNUSABLE: "the hypervisor cannot use the device; unplug it and plug it in again",
    _C.NO_USB_CONTROLLER: f"the server has no USB controller; {USE_XHCI}",
    _C.NO_FREE_USB_PORT: (
        "all USB ports of the server are in use; detach another USB device from it, or use a controller"
        f" with more ports: {USE_XHCI}"
    ),
    _C.SPEED_MISMATCH: f"the server's USB controller does not support the speed of the device; {USE_XHCI}",
    _C.OPEN_IN_SERVER: "a program in the server still has the device open; end that program",
    _C.NOT_REMOVED: "the hypervisor has not removed the device yet",
    _C.HYPERVISOR_ERROR: "the hypervisor refused the device",
    _C.CHANNEL_CONNECTING: "the hosts of the device and the server are being connected",
    _C.CHANNEL_UNREACHABLE: "the hosts of the device and the server cannot reach each other over the network",
    _C.CHANNEL_REFUSED: (
        "the hosts of the device and the server do not trust each other; contact the cloud administrator"
    ),
    _C.CHANNEL_FAILED: "the connection between the hosts of the device and the server failed",
    _C.CHANNEL_LIMIT: "the compute host has reached its limit of connections for USB devices",
    _C.NO_NETWORK_TRANSPORT: "the host of the device or of the server does not support USB over the network",
    _C.RESET: "reset after use",
    _C.RESET_SKIPPED: "not reset after use",
    _C.RESET_FAILED: "the reset after use failed",
    _C.WIPED: "wiped",
    _C.REQUESTED: "requested",
    _C.PLUGGED_IN: "plugged in",
    _C.SERVER_STARTED: "server started",
    _C.SERVER_STOPPED: "server stopped",
    _C.SERVER_MOVED: "server moved",
    _C.SERVER_UNSHELVED: "server unshelved",
    _C.SERVER_DELETED: "server deleted",
    _C.RETRIED: "retried",
    _C.CONNECTION_CHANGED: "connection changed",
    _C.HOST_USE_CHANGED: "host use changed",
    _C.DESCRIBED: "described",
    _C.ENABLED: "enabled",
    _C.SHARING_CHANGED: "sharing changed",
    _C.KIND_CHANGED: "kind changed",
    _C.TRANSPORT_CHANGED: "transport changed",
    _C.LEASE_CHANGED: "lease changed",
    _C.LEASE_ENDING: "lease ends soon",
    _C.LEASE_ENDED: "lease ended",
    _C.QUEUE_JOINED: "joined the queue",
    _C.QUEUE_LEFT: "left the queue",
    _C.QUEUE_SERVED: "next in the queue",
    _C.ALLOCATED: "requested by the flavor",
    _C.ALLOCATION_ENDED: "no longer in the flavor",
    _C.ALLOCATION_UNFULFILLED: "no device for the flavor",
    _C.FORGOTTEN: "forgotten",
    _C.RELEASED: "released by the cloud administrator",
    _C.HOST_DELETED: "host deleted",
    _C.RELEASES_HELD: "releases held back",
    _C.HOST_PROBLEM: "problem on the host",
    _C.SURPLUS: "the host reported too many devices",
    _C.FORBIDDEN: "your role in the project does not allow it",
    _C.SERVER_LOCKED: "the server is locked",
    _C.SERVER_NOT_ON_HOST: "the server is not on a host; start it first",
    _C.DEVICE_ON_OTHER_HOST: "the device is on a different host than the server",
    _C.NETWORK_NOT_ALLOWED: "the device may not be used over the network",
    _C.DEVICE_TAKEN: "another server has the device",
    _C.DEVICE_NOT_SHARED: "the device is not shared with the project",
    _C.QUOTA_EXCEEDED: "the quota of the project is used up",
    _C.TOO_MANY_DEVICES: "the server has reached its limit of USB devices",
    _C.QUEUED_FOR_OTHERS: "the device is reserved for a queued server",
    _C.KIND_NOT_FREE: "no device of the kind is free that the server can use",
    _C.FLAPPING: "changes too often; unrequested changes are not recorded for up to an hour",
}


def describe(code: str | None) -> str | None:
    """The text of a code for all users; the code itself if this version does not know it."""
    return DESCRIPTIONS.get(code, code) if code else None  # type: ignore[call-overload]
