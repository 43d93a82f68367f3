# SPDX-License-Identifier: Apache-2.0
"""What the tables of devices have in common, wherever they are."""

from __future__ import annotations

import html
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _
from horizon import tables
from horizon.exceptions import RecoverableError

from usb_dashboard import api
from usb_dashboard.devices import STATES, Device, verbatim

__all__ = [
    "ROW_ACTIONS",
    "STATES",
    "Detach",
    "DeviceRow",
    "DevicesTable",
    "LocationColumn",
    "NameColumn",
    "SerialColumn",
    "StateColumn",
    "dialog_url",
    "link",
    "verbatim",
]

#: Of ``Meta.row_actions_dropdown_template``.
ROW_ACTIONS = "usb/_row_actions.html"

# A state that is not named here is on its way to another: the row then looks after itself.
_SETTLED = (
    ("attached", True),
    ("available", True),
    ("waiting", True),
    ("failed", False),
    ("unavailable", False),
)


def link(address: str, text: str) -> SafeString:
    """A link as HTML. The colour that Horizon's themes give links is hard to read."""
    style = "color: inherit; text-decoration: underline"
    return format_html('<a href="{}" style="{}">{}</a>', address, style, verbatim(text))


class NameColumn(tables.Column):
    """The icon of the device's class, its name, and what the operator wrote about it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("name", verbose_name=_("Name"), **kwargs)

    def get_data(self, device: Device) -> Any:
        """HTML."""
        description = device.shown_description
        if description is None:
            return device.shown_name
        return mark_safe(f"{device.shown_name}<div>{description}</div>")  # noqa: S308  both are escaped


def _location(device: Device) -> str | None:
    return device.location or None


class LocationColumn(tables.Column):
    """Bus and device number, as lsusb prints them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(_location, verbose_name=_("Bus and Device"), **kwargs)


class SerialColumn(tables.Column):
    """The serial number."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("serial", verbose_name=_("Serial Number"), filters=(verbatim,), **kwargs)


class StateColumn(tables.Column):
    """The state, and the reason for it. To be named in ``status_columns``."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("state", verbose_name=_("State"), status=True, status_choices=_SETTLED, **kwargs)

    def get_data(self, device: Device) -> Any:
        """HTML."""
        return device.shown_state


class DeviceRow(tables.Row):
    """A row that looks after its device while that is being attached or detached."""

    ajax = True

    def load_cells(self, datum: Device | None = None) -> None:
        """The name, for Horizon's script, which makes HTML of the attribute; Angular evaluates it there."""
        super().load_cells(datum)
        self.attrs["data-display"] = mark_safe(html.escape(html.escape(self.datum.name)))  # noqa: S308
        self.attrs["ng-non-bindable"] = True

    def get_data(self, request: HttpRequest, device_id: str) -> Device:
        """The device now; the row of one that is not found goes away."""
        return api.device_get(request, device_id)


class DevicesTable(tables.DataTable):
    """A table with rows that look after themselves."""

    # All actions are links to dialogs.
    needs_form_wrapper = False

    def maybe_preempt(self) -> HttpResponse | None:
        """Horizon answers 100, for which no browser stops waiting, if the service cannot tell of a row."""
        response = super().maybe_preempt()
        if response is not None and response.status_code == RecoverableError.status_code:
            response.status_code = 503
        return response


class Detach(tables.LinkAction):
    """Opens the dialog that detaches, with the device chosen."""

    name = "detach"
    verbose_name = _("Detach")
    classes = ("ajax-modal",)
    policy_rules = (("usb-passthrough", "usb-passthrough:attachments:delete"),)
    #: Where the user is, and comes back to: see `usb_dashboard.panels.instances.views`.
    place = "panel"

    def allowed(self, request: HttpRequest, device: Device) -> bool:
        """A server has it, or is to have it."""
        return device.server_id is not None and device.state != "detaching"

    def get_link_url(self, device: Device) -> str:
        """Of the dashboard that the table is in."""
        return dialog_url(self.table.request, "detach", device.server_id, place=self.place, device=device.id)


def dialog_url(request: HttpRequest, name: str, server_id: str, **query: str) -> str:
    """The address of a dialog for a server, in the dashboard that the user is in.

    :param query: ``place`` where the user is, ``device`` the id of the one to begin with
    """
    dashboard = request.horizon["dashboard"].slug
    address = reverse(f"horizon:{dashboard}:usb:{name}", args=(server_id,))
    return f"{address}?{urlencode(query)}" if query else address
