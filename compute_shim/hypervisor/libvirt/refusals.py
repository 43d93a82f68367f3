# SPDX-License-Identifier: Apache-2.0
"""Why libvirt refused, for the people whose server it is, with the way out.

libvirt uses one error code for many reasons, so that only the text tells them apart; the texts here are those
of libvirt 9.0.0 and QEMU 7.2.22. They go to the log of this host as they are. Whoever may use one server only
must not read in them what other servers and the host's directories are called.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from compute_shim.hypervisor.libvirt.config import XHCI

# Of an xHCI controller whose definition does not say (libvirt, src/conf/domain_addr.c:
# virDomainUSBAddressControllerModelToPorts). Nova's definition never says.
_XHCI_PORTS = 4

# With the usual USB tablet Nova ignores the model and adds an old controller (nova, virt/libvirt/driver.py:
# _guest_add_usb_root_controller).
_GIVE_IT_XHCI = (
    "set hw:usb_model=qemu-xhci on the flavor or hw_usb_model=qemu-xhci on the image, and hw_input_bus=virtio"
    " on the image; then resize or rebuild the server"
)

_GONE = (
    "Did not find USB device",
    "is not accessible: No such file or directory",
    # LXC's
    "Unable to access /dev/bus/usb/",
    "No such device",
)
# Paths of the host, what stands in quotes or brackets, and the name of a domain.
_PRIVATE = re.compile(r"""'[^']*'|"[^"]*"|\([^)]*\)|(?<=, domain )\S+|/\S+""")


def explained(text: str, controllers: Collection[str] = (), speed: str = "") -> str:
    """One sentence for people.

    :param text: of libvirt's error.
    :param controllers: models of the USB controllers that the domain has.
    :param speed: of the device, in Mb/s.
    """
    modern = any(model in XHCI for model in controllers)
    if "has no USB bus support" in text:
        return f"the server has no USB controller; {_GIVE_IT_XHCI}"
    if "No free USB ports" in text:
        way_out = "detach another USB device from it"
        if not modern:
            way_out += f", or give it a controller with {_XHCI_PORTS} ports: {_GIVE_IT_XHCI}"
        return f"all USB ports of the server are in use; {way_out}"
    if "failed to open host usb device" in text and not modern:
        # QEMU names the reason in the domain's log only: "speed mismatch trying to attach usb device".
        return (
            f"the server's USB controller ({', '.join(controllers)}) does not suit a device of {speed} Mb/s;"
            f" {_GIVE_IT_XHCI}"
        )
    if "failed to open host usb device" in text:
        return "QEMU cannot use the device; pull it out and plug it in again"
    if "is in use by driver" in text:
        return "taken: another server on the same host has it; ask the operator to take it out there"
    if any(gone in text for gone in _GONE):
        return "the device went away before it could be attached"
    return _PRIVATE.sub("\N{HORIZONTAL ELLIPSIS}", text)
