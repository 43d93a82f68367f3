# SPDX-License-Identifier: Apache-2.0
"""How a USB device is shown to people. Its strings are hostile: templates escape them."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from openstack_dashboard.api import base

# Class codes: https://www.usb.org/defined-class-codes. Icons: Font Awesome, as Horizon ships it.
_CLASSES = {
    "01": ("fa-volume-up", _("Audio")),
    "02": ("fa-plug", _("Communication")),
    "03": ("fa-keyboard-o", _("Input device")),
    "06": ("fa-camera", _("Camera")),
    "07": ("fa-print", _("Printer")),
    "08": ("fa-hdd-o", _("Storage")),
    "0a": ("fa-plug", _("Communication")),
    "0b": ("fa-id-card", _("Smart card reader")),
    "0e": ("fa-video-camera", _("Video")),
    "e0": ("fa-wifi", _("Wireless")),
}
_OTHER_CLASS = ("fa-usb", _("USB device"))

# What a user can do something with comes first.
_STATE_ORDER = ("attached", "attaching", "detaching", "waiting", "failed", "available", "unavailable")


class Device(base.APIDictWrapper):
    """A device as the service sends it, with what the tables show of it."""

    def order(self) -> tuple[bool, str, str]:
        """Sort key of a list to choose from: free devices first, then by name and place."""
        return (not self.available, self.name.lower(), self.location)

    @property
    def usb_id(self) -> str:
        """``vendor:product``, as lsusb prints it."""
        return f"{self.vendor_id}:{self.product_id}"

    @property
    def location(self) -> str:
        """Bus and device number as lsusb prints them; empty while the device is unplugged."""
        return "" if self.bus is None else f"Bus {self.bus:03} Device {self.device:03}"

    @property
    def icon(self) -> str:
        """The CSS class of the icon for the device's class."""
        return _CLASSES.get(self.device_class, _OTHER_CLASS)[0]

    @property
    def kind(self) -> Any:
        """What the class of the device is called (translated)."""
        return _CLASSES.get(self.device_class, _OTHER_CLASS)[1]
