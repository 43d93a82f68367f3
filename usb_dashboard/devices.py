# SPDX-License-Identifier: Apache-2.0
"""How a USB device is shown to people. Its strings are hostile: `verbatim` makes HTML of them."""

from __future__ import annotations

import html
from typing import Any

from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _
from openstack_dashboard.api import base

# Class codes: https://www.usb.org/defined-class-codes. Icons: Font Awesome 6, without the names of version 4.
_CLASSES = {
    "01": ("fa fa-volume-up", _("Audio")),
    "02": ("fa fa-plug", _("Communication")),
    "03": ("fa fa-keyboard", _("Input device")),
    "06": ("fa fa-camera", _("Camera")),
    "07": ("fa fa-print", _("Printer")),
    "08": ("fa fa-hdd", _("Storage")),
    "0a": ("fa fa-plug", _("Communication")),
    "0b": ("fa fa-id-card", _("Smart card reader")),
    "0e": ("fa fa-video", _("Video")),
    "e0": ("fa fa-wifi", _("Wireless")),
}
_OTHER_CLASS = ("fab fa-usb", _("USB device"))

#: What the states of a device are called (translated).
STATES = {
    "available": _("Available"),
    "attaching": _("Attaching"),
    "attached": _("Attached"),
    "waiting": _("Waiting"),
    "detaching": _("Detaching"),
    "failed": _("Failed"),
    "unavailable": _("Unavailable"),
}


def verbatim(text: str | None) -> SafeString | None:
    """Any text as HTML that shows exactly that; None, which tables show as a dash, if there is none.

    Django's own escaping is not enough: Angular takes ``{$ $}`` for its own, wherever on the page it is. What
    Horizon does about that is to change the text, and to have it escaped twice at places.
    """
    if not text:
        return None
    return mark_safe(f"<span ng-non-bindable>{html.escape(text)}</span>")  # noqa: S308  it is escaped


def shown_state(state: str, reason: str | None) -> SafeString:
    """A state of a device (translated) and the reason for it, as HTML."""
    name = html.escape(str(STATES[state]))
    return mark_safe(f"{name}: {verbatim(reason)}" if reason else name)  # noqa: S308  it is escaped


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
    def shown_speed(self) -> Any:
        """The speed in words (translated)."""
        return _("%s Mbit/s") % self.speed if self.speed else None

    @property
    def shown_name(self) -> SafeString:
        """The icon of the device's class and the name, as HTML."""
        # The service sends no class with what a server has.
        icon, kind = _CLASSES.get(getattr(self, "device_class", ""), _OTHER_CLASS)
        kind = html.escape(str(kind))
        sign = f'<span class="{icon} fa-fw" role="img" aria-label="{kind}" title="{kind}"></span>'
        # Horizon's tables lose a space between elements.
        return mark_safe(f"{sign}&nbsp;{verbatim(self.name or self.usb_id)}")  # noqa: S308  it is escaped

    @property
    def shown_description(self) -> SafeString | None:
        """What the operator wrote about the device, as HTML."""
        # The service sends none with what a server has.
        return verbatim(getattr(self, "description", None))

    @property
    def shown_serial(self) -> SafeString | None:
        """The serial number, as HTML."""
        return verbatim(self.serial)

    @property
    def shown_state(self) -> SafeString:
        """The state (translated) and the reason for it, as HTML."""
        return shown_state(self.state, self.state_reason)
