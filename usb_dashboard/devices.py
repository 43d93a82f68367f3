# SPDX-License-Identifier: Apache-2.0
"""How a USB device is shown to people. Its strings are hostile: `verbatim` makes HTML of them."""

from __future__ import annotations

import html
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _
from openstack_dashboard.api import base

from usb_dashboard import reasons

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
_STORAGE = "08"
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


#: Of a device and a server on different hosts, where one is chosen for the other.
BY_NETWORK = _("On another host, over the network")

#: The states that pass by themselves, soon.
IN_PROGRESS = ("attaching", "detaching")

_SPINNER = '<span class="fa fa-spinner fa-spin" aria-hidden="true"></span>&nbsp;'


def verbatim(text: str | None) -> SafeString | None:
    """Any text as HTML that shows exactly that; None, which tables show as a dash, if there is none.

    Django's own escaping is not enough: Angular takes ``{$ $}`` for its own, wherever on the page it is. What
    Horizon does about that is to change the text, and to have it escaped twice at places.
    """
    if not text:
        return None
    return mark_safe(f"<span ng-non-bindable>{html.escape(text)}</span>")  # noqa: S308  it is escaped


# A longer reason is shown in part, and whole on demand.
_LONG_REASON = 100


def shown_state(state: str, code: str | None, reason: str | None) -> SafeString:
    """A state of a device and the reason for it (translated), as HTML.

    :param code: of the reason.
    :param reason: as the service puts it.
    """
    whole = reasons.of_state(state, code)
    name = html.escape(str(whole or STATES[state]))
    # What the service says beyond the code is for administrators, and worth showing whatever the state.
    why = None if whole else reasons.text(code, reason)
    spinner = _SPINNER if state in IN_PROGRESS else ""
    return mark_safe(f"{spinner}{name}: {_clamped(why)}" if why else spinner + name)  # noqa: S308  escaped


def _clamped(text: str) -> SafeString:
    if len(text) <= _LONG_REASON:
        return verbatim(text) or mark_safe("")
    start = f"{text[:_LONG_REASON]}\u2026"
    return mark_safe(f"<details><summary>{verbatim(start)}</summary>{verbatim(text)}</details>")  # noqa: S308


class Device(base.APIDictWrapper):
    """A device as the service sends it, with what the tables show of it."""

    def order(self) -> tuple[bool, bool, str, str]:
        """Sort key of a list to choose from: free devices first, near ones first, then by name and place."""
        return (not self.available, self.is_far, self.name.lower(), self.location)

    @property
    def is_far(self) -> bool:
        """Whether it is on another host than the server that it is listed for."""
        return bool(getattr(self, "other_host", False))

    @property
    def short_name(self) -> str:
        """The name, without a vendor that the product's name repeats; the ids of one that has no name."""
        vendor = getattr(self, "vendor", None) or ""
        doubled = f"{vendor} {vendor}".casefold()
        if vendor and self.name.casefold().startswith(doubled):
            return self.name[len(vendor) + 1 :]
        return self.name or self.usb_id

    @property
    def label(self) -> str:
        """What the device is called in a sentence: the name, and what tells two of one model apart."""
        return f"{self.short_name} ({self.serial or self.port})"

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
    def icon(self) -> SafeString:
        """The icon of the device's class, as HTML."""
        icon, kind = _CLASSES.get(self.device_class, _OTHER_CLASS)
        kind = html.escape(str(kind))
        sign = f'<span class="{icon} fa-fw" role="img" aria-label="{kind}" title="{kind}"></span>'
        return mark_safe(sign)  # noqa: S308  it is escaped

    @property
    def shown_name(self) -> SafeString:
        """The icon of the device's class and the name, as HTML."""
        # Horizon's tables lose a space between elements.
        return mark_safe(f"{self.icon}&nbsp;{verbatim(self.short_name)}")  # noqa: S308  it is escaped

    @property
    def shown_class(self) -> Any:
        """What the device is (translated)."""
        return _CLASSES.get(self.device_class, _OTHER_CLASS)[1]

    @property
    def shown_description(self) -> SafeString | None:
        """What the operator wrote about the device, as HTML."""
        return verbatim(self.description)

    @property
    def shown_serial(self) -> SafeString | None:
        """The serial number, as HTML."""
        return verbatim(self.serial)

    @property
    def bare_state(self) -> SafeString:
        """The state (translated) and the reason for it, as HTML."""
        return shown_state(self.state, self.reason_code, self.state_reason)

    @property
    def way(self) -> str | None:
        """That its server has it over the network, with the hosts if they are known (translated)."""
        # An older service does not tell.
        if not getattr(self, "used_over_network", False):
            return None
        # Administrators only are told of hosts.
        server_host = getattr(self, "server_host", None)
        if server_host is None:
            return str(_("Over the network"))
        return str(_("Over the network, from {} to {}")).format(self.host, server_host)

    @property
    def shown_state(self) -> SafeString:
        """The state and the reason for it, and whether it is used over the network, as HTML."""
        way = verbatim(self.way)
        return self.bare_state if way is None else format_html("{}<div>{}</div>", self.bare_state, way)

    @property
    def is_storage(self) -> bool:
        """Whether what is not written yet is lost when it is detached."""
        return bool(self.device_class == _STORAGE)
