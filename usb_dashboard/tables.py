# SPDX-License-Identifier: Apache-2.0
"""What the tables of devices have in common, wherever they are."""

from __future__ import annotations

import html
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _
from horizon import tables

from usb_dashboard import errors, times
from usb_dashboard.devices import STATES, Device, verbatim

__all__ = [
    "ROW_ACTIONS",
    "STATES",
    "ChangeLease",
    "Detach",
    "DeviceRow",
    "DevicesTable",
    "ForColumn",
    "LocationColumn",
    "NameColumn",
    "PortColumn",
    "Retry",
    "SerialColumn",
    "StateColumn",
    "UsbIdColumn",
    "bears",
    "dialog_url",
    "link",
    "server_link",
    "verbatim",
]

#: Of ``Meta.row_actions_dropdown_template``.
ROW_ACTIONS = "usb/_row_actions.html"

# The colour that Horizon's themes give links is hard to read.
_LINK = "color: inherit; text-decoration: underline"

# Bootstrap's class for what must not be broken.
_IN_ONE_LINE = ("text-nowrap",)

# A state that is not named here passes by itself: while a row has one, its table is asked for often.
_SETTLED = (
    ("attached", True),
    ("available", True),
    ("waiting", True),
    ("failed", False),
    ("unavailable", False),
)


def bears(device: Device, wanted: str) -> bool:
    """Whether something that is shown of a device has the text, whatever the case of the letters."""
    shown = ("name", "usb_id", "location", "port", "serial", "description", "server_name", "server_id")
    more = ("host", "kind", "project_id", "id", "state_reason", "reason_code")
    # Not all are told to everybody.
    values = [getattr(device, field, None) or "" for field in (*shown, *more)]
    return any(wanted in value.casefold() for value in (*values, str(STATES[device.state])))


def link(address: str, text: str) -> SafeString:
    """A link as HTML."""
    return format_html('<a href="{}" style="{}">{}</a>', address, _LINK, verbatim(text))


def server_link(dashboard: str, of: Any) -> SafeString | None:
    """A link to the server of a device, or of a place in the queue, in a dashboard; None if there is none."""
    if of.server_id is None:
        return None
    page = reverse(f"horizon:{dashboard}:instances:detail", args=(of.server_id,))
    return link(page, of.server_name)


class NameColumn(tables.Column):
    """The icon of the device's class, its name, and what the operator wrote about it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("name", verbose_name=_("Name"), classes=("usb-name",), **kwargs)

    def get_data(self, device: Device) -> Any:
        """HTML, with a link to the page of the device."""
        page = dialog_url(self.table.request, "device", device.id)
        shown = format_html(
            '{}&nbsp;<a href="{}" style="{}">{}</a>', device.icon, page, _LINK, verbatim(device.short_name)
        )
        description = device.shown_description
        return shown if description is None else format_html("{}<div>{}</div>", shown, description)


def _location(device: Device) -> str | None:
    return device.location or None


class LocationColumn(tables.Column):
    """Bus and device number, as lsusb prints them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(_location, verbose_name=_("Bus and Device"), classes=_IN_ONE_LINE, **kwargs)


class UsbIdColumn(tables.Column):
    """``vendor:product``, as lsusb prints it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("usb_id", verbose_name=_("Vendor:Product"), classes=_IN_ONE_LINE, **kwargs)


class PortColumn(tables.Column):
    """The port, as the kernel names it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("port", verbose_name=_("Port"), classes=_IN_ONE_LINE, **kwargs)


class SerialColumn(tables.Column):
    """The serial number."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            "serial", verbose_name=_("Serial Number"), filters=(verbatim,), classes=("usb-words",), **kwargs
        )


class StateColumn(tables.Column):
    """The state, and the reason for it. To be named in ``status_columns``."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            "state",
            verbose_name=_("State"),
            status=True,
            status_choices=_SETTLED,
            classes=("usb-words",),
            **kwargs,
        )

    def get_data(self, device: Device) -> Any:
        """HTML."""
        return device.shown_state


class ForColumn(tables.Column):
    """For how long a device has been in its state; the exact time on hover."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("state_since", verbose_name=_("For"), **kwargs)

    def get_data(self, device: Device) -> Any:
        """HTML."""
        return times.elapsed(device.state_since)


class DeviceRow(tables.Row):
    """A row of a device, whose strings are hostile."""

    def load_cells(self, datum: Device | None = None) -> None:
        """The name, for Horizon's script, which makes HTML of the attribute; Angular evaluates it there."""
        super().load_cells(datum)
        self.attrs["data-display"] = mark_safe(html.escape(html.escape(self.datum.label)))  # noqa: S308
        self.attrs["ng-non-bindable"] = True


class DevicesTable(tables.DataTable):
    """A table that is watched (`usb_dashboard.watch`)."""

    # All actions are links to dialogs.
    needs_form_wrapper = False
    _problem: Any = None

    def say(self, error: Exception) -> None:
        """Why there are no devices to show: that is not the same as if there were none."""
        self._problem = format_html(
            _("The USB devices could not be retrieved: {}"), verbatim(errors.explain(error))
        )

    def get_empty_message(self) -> Any:
        """What stands in place of devices."""
        return self._problem or super().get_empty_message()


class _OfAttachment(tables.LinkAction):
    """Opens a dialog about this device and the server that has it, or is to have it.

    :cvar place: where the user is, and comes back to: see `usb_dashboard.panels.instances.views`.
    """

    classes = ("ajax-modal",)
    place = "panel"
    dialog: str

    def allowed(self, request: HttpRequest, device: Device) -> bool:
        """A server has it, or is to have it."""
        return device.server_id is not None and device.state != "detaching"

    def get_link_url(self, device: Device) -> str:
        """Of the dashboard that the table is in."""
        return dialog_url(self.table.request, self.dialog, device.server_id, device.id, place=self.place)


class Detach(_OfAttachment):
    """Asks whether to detach this device from its server."""

    name = "detach"
    verbose_name = _("Detach")
    dialog = "detach_device"
    policy_rules = (("usb-passthrough", "usb-passthrough:attachments:delete"),)


class Retry(_OfAttachment):
    """Asks whether to try once more to attach a device that its server did not get."""

    name = "retry"
    verbose_name = _("Retry")
    dialog = "retry"
    policy_rules = (("usb-passthrough", "usb-passthrough:attachments:create"),)

    def allowed(self, request: HttpRequest, device: Device) -> bool:
        """The last try failed."""
        return device.server_id is not None and device.state == "failed"


class ChangeLease(_OfAttachment):
    """Opens the dialog for how long a server has the device."""

    name = "lease"
    verbose_name = _("Change Lease")
    dialog = "lease"
    policy_rules = (("usb-passthrough", "usb-passthrough:attachments:update"),)


def dialog_url(request: HttpRequest, name: str, *ids: str, **query: str) -> str:
    """The address of a dialog in the dashboard that the user is in.

    :param ids: of what it is about
    :param query: ``place``: where the user is
    """
    dashboard = request.horizon["dashboard"].slug
    address = reverse(f"horizon:{dashboard}:usb:{name}", args=ids)
    return f"{address}?{urlencode(query)}" if query else address
