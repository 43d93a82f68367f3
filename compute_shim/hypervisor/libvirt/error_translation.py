# SPDX-License-Identifier: Apache-2.0
"""Translates libvirt errors into reasons and remedies for users.

libvirt uses one error code for many reasons, so only the text distinguishes them; the texts here are those of
libvirt 9.0.0 and QEMU 7.2.22. The original text is logged on this host only, because it can contain names of
other servers and of directories.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from compute_shim.hypervisor.libvirt.config import XHCI
from compute_shim.objects import Reason, ReasonCode
from novaclient_usb.reason_codes import USE_XHCI

_GONE = (
    "Did not find USB device",
    "is not accessible: No such file or directory",
    # LXC's
    "Unable to access /dev/bus/usb/",
    "No such device",
)
# Paths of the host, what stands in quotes or brackets, and the name of a domain.
_PRIVATE = re.compile(r"""'[^']*'|"[^"]*"|\([^)]*\)|(?<=, domain )\S+|/\S+""")


def explained(text: str, controllers: Collection[str] = (), speed: str = "") -> Reason:
    """The reason for a libvirt error.

    :param text: of the error.
    :param controllers: models of the USB controllers that the domain has.
    :param speed: of the device, in Mb/s.
    """
    modern = any(model in XHCI for model in controllers)
    if "has no USB bus support" in text:
        return Reason(ReasonCode.NO_USB_CONTROLLER)
    if "No free USB ports" in text:
        way_out = "all USB ports of the server are in use; detach another USB device from it"
        return Reason(ReasonCode.NO_FREE_USB_PORT, way_out if modern else None)
    if "failed to open host usb device" in text and not modern:
        # QEMU names the reason in the domain's log only: "speed mismatch trying to attach usb device".
        return Reason(
            ReasonCode.SPEED_MISMATCH,
            f"the server's USB controller ({', '.join(controllers)}) does not support {speed} Mb/s devices;"
            f" {USE_XHCI}",
        )
    if "failed to open host usb device" in text:
        return Reason(ReasonCode.DEVICE_UNUSABLE)
    if "is in use by driver" in text:
        return Reason(ReasonCode.HELD_BY_DOMAIN)
    if any(gone in text for gone in _GONE):
        return Reason(ReasonCode.DEVICE_GONE)
    return Reason(ReasonCode.HYPERVISOR_ERROR, _PRIVATE.sub("\N{HORIZONTAL ELLIPSIS}", text))
