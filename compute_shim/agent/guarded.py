# SPDX-License-Identifier: Apache-2.0
"""Devices that a host may need, so that a broad rule does not offer them.

These are keyboards and mice that work without an operating system, and network adapters. Class codes are at
https://www.usb.org/defined-class-codes; those below class 02 in "Class Definitions for Communication
Devices 1.2", table 4, and RNDIS as Linux knows it (drivers/net/usb/rndis_host.c).
"""

from __future__ import annotations

from compute_shim.objects import Plugged

_INPUT = {"030101": "a boot keyboard", "030102": "a boot mouse"}
_NETWORK = (
    "0202ff",  # RNDIS
    "0206",  # Ethernet (ECM)
    "0207",  # ATM
    "020a",  # mobile direct line (MDLM)
    "020c",  # Ethernet emulation (EEM)
    "020d",  # NCM
    "020e",  # MBIM
    "e0",  # wireless controllers: Bluetooth, RNDIS
    "ef04",  # RNDIS
)


def kind(device: Plugged) -> str | None:
    """The type of a device that only a rule with its vendor and product offers; None for all others."""
    for triple in device.classes:
        if triple in _INPUT:
            return _INPUT[triple]
    if device.network or any(triple.startswith(_NETWORK) for triple in device.classes):
        return "a network adapter"
    return None
