# SPDX-License-Identifier: Apache-2.0
"""Texts by which programs of RPC 1.0, which had no reason codes, told reasons.

They are a protocol, not display text: an agent of that version still sends them, expects them back, and an
API of that version stores and compares them. No text of this version appears here.
"""

from __future__ import annotations

import re

from compute_shim.objects import ReasonCode

#: ``blocked_reason`` of a device that no rule allows. APIs of RPC 1.0 hide such devices from tenants by it.
NOT_OFFERED = "not allowed by device_spec"

# An agent said "on another host" of any server that has no domain on its own host.
_TEXTS = {
    "unplugged": ReasonCode.UNPLUGGED,
    "the server is off": ReasonCode.SERVER_OFF,
    "the server is on another host": ReasonCode.DOMAIN_ABSENT,
    "the server is shelved": ReasonCode.SERVER_SHELVED,
    "the server is being moved or saved": ReasonCode.SERVER_BUSY,
    NOT_OFFERED: ReasonCode.NOT_OFFERED,
    "disabled by the operator": ReasonCode.DISABLED,
    "reset": ReasonCode.RESET,
}

_BEGINNINGS = {
    "used by the host: mounted at": ReasonCode.HOST_MOUNT,
    "used by the host: swap space": ReasonCode.HOST_SWAP,
    "used by the host: part of": ReasonCode.HOST_VOLUME,
    "used by the host: network interface": ReasonCode.HOST_NETWORK,
    "used by the host: process": ReasonCode.HOST_PROCESS,
    "another device is in port": ReasonCode.PORT_OCCUPIED,
    "another claim names the same device": ReasonCode.DUPLICATE_CLAIM,
    "taken: an operator gave it": ReasonCode.ATTACHED_MANUALLY,
    "taken: another server": ReasonCode.HELD_BY_DOMAIN,
    "the device went away": ReasonCode.DEVICE_GONE,
    "the container did not get the device": ReasonCode.DEVICE_GONE,
    "QEMU cannot use the device": ReasonCode.DEVICE_UNUSABLE,
    "QEMU did not open the device": ReasonCode.DEVICE_UNUSABLE,
    "the server has no USB controller": ReasonCode.NO_USB_CONTROLLER,
    "all USB ports of the server are in use": ReasonCode.NO_FREE_USB_PORT,
    "the server's USB controller": ReasonCode.SPEED_MISMATCH,
    "a program in the server still has it open": ReasonCode.OPEN_IN_SERVER,
    "not removed from the domain": ReasonCode.NOT_REMOVED,
    "not reset": ReasonCode.RESET_SKIPPED,
}
_BEGINNING = re.compile("|".join(map(re.escape, _BEGINNINGS)))

_CAUSES = {
    "asked": ReasonCode.REQUESTED,
    "plugged in": ReasonCode.PLUGGED_IN,
    "unplugged": ReasonCode.UNPLUGGED,
    "started": ReasonCode.SERVER_STARTED,
    "stopped": ReasonCode.SERVER_STOPPED,
    "migrated": ReasonCode.SERVER_MOVED,
    "shelved": ReasonCode.SERVER_SHELVED,
    "unshelved": ReasonCode.SERVER_UNSHELVED,
    "moved or saved": ReasonCode.SERVER_BUSY,
    "retried": ReasonCode.RETRIED,
    "the host's own use": ReasonCode.HOST_USE_CHANGED,
    "server deleted": ReasonCode.SERVER_DELETED,
}

_SENT = {code: text for text, code in _TEXTS.items()} | {
    ReasonCode.SERVER_ON_OTHER_HOST: "the server is on another host"
}


def code_of(text: str | None, otherwise: ReasonCode | None) -> ReasonCode | None:
    """The code of a reason that came without one, None if there is no reason.

    :param otherwise: of a text that is none of ours, for example one of libvirt's.
    """
    if text is None:
        return None
    if text in _TEXTS:
        return _TEXTS[text]
    beginning = _BEGINNING.match(text)
    return _BEGINNINGS[beginning[0]] if beginning else otherwise


def code_of_cause(text: str) -> ReasonCode | None:
    """The code of an event's cause that was stored without one, None if it is unknown."""
    return _CAUSES.get(text)


def has_details(text: str | None) -> bool:
    """Whether a text says more than its code."""
    return text is not None and text not in _TEXTS


def text_of(code: str | None, text: str | None) -> str | None:
    """How a reason is told to an agent that expects a text of RPC 1.0."""
    return _SENT.get(code, text) if code else text  # type: ignore[call-overload]
