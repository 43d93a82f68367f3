# SPDX-License-Identifier: Apache-2.0
"""What the tables of devices have in common, wherever they are."""

from __future__ import annotations

import html
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _
from horizon import tables

from usb_dashboard import errors, paging, times
from usb_dashboard.devices import STATES, Device, verbatim

__all__ = [
    "PAGED",
    "ROW_ACTIONS",
    "STATES",
    "TABLE_ACTIONS",
    "ChangeLease",
    "Detach",
    "DeviceRow",
    "DevicesFilter",
    "DevicesTable",
    "ForColumn",
    "LocationColumn",
    "NameColumn",
    "PagedDevicesTable",
    "PortColumn",
    "Retry",
    "SerialColumn",
    "ServerColumn",
    "SortedColumn",
    "StateColumn",
    "TellingTable",
    "bears",
    "dialog_url",
    "link",
    "server_link",
    "verbatim",
]

#: Of ``Meta.row_actions_dropdown_template``.
ROW_ACTIONS = "usb/_row_actions.html"
#: Of ``Meta.table_actions_template``.
TABLE_ACTIONS = "usb/_table_actions.html"
#: Of ``Meta.template`` of a `PagedDevicesTable`.
PAGED = "usb/_paged_table.html"

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
    values = [getattr(device, field, None) or "" for field in (*shown, *more, "way")]
    return any(wanted in value.casefold() for value in (*values, str(STATES[device.state])))


def _state(text: str) -> str:
    """The state that somebody means who writes its code or its name; the text if none is."""
    names = {str(name).casefold(): state for state, name in STATES.items()}
    return names.get(text.casefold(), text.casefold())


def link(address: str, text: str) -> SafeString:
    """A link as HTML."""
    return format_html('<a href="{}" style="{}">{}</a>', address, _LINK, verbatim(text))


def server_link(dashboard: str, of: Any) -> SafeString | None:
    """A link to the server of a device, or of a place in the queue, in a dashboard; None if there is none."""
    if of.server_id is None:
        return None
    page = reverse(f"horizon:{dashboard}:instances:detail", args=(of.server_id,))
    return link(page, of.server_name)


class SortedColumn(tables.Column):
    """A column that the service can sort by, in a `PagedDevicesTable`.

    :cvar sort_key: of the API.
    """

    sort_key: str

    @property
    def sort_address(self) -> str | None:
        """The address of the page that is sorted by this, the other way round if it is so now."""
        look = getattr(self.table, "look", None)
        if look is None:
            return None
        falling = look.sort_key == self.sort_key and not look.descending
        return f"?{urlencode({'sort_key': self.sort_key, 'sort_dir': 'desc' if falling else 'asc'})}"

    @property
    def sort_state(self) -> str | None:
        """As ``aria-sort`` has it; None if the table is not sorted by this."""
        if self.table.look.sort_key != self.sort_key:
            return None
        return "descending" if self.table.look.descending else "ascending"


class ServerColumn(tables.Column):
    """The server that has a device, or waits for one, with a link to its page in the user's dashboard."""

    def __init__(self) -> None:
        super().__init__("server_name", verbose_name=_("Instance"), classes=("usb-text",))

    def get_raw_data(self, of: Any) -> SafeString | None:
        """HTML; None if there is none."""
        return server_link(self.table.request.horizon["dashboard"].slug, of)


class NameColumn(SortedColumn):
    """The icon of the device's class, its name, ``vendor:product``, and what the operator wrote about it."""

    sort_key = "name"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("name", verbose_name=_("Name"), classes=("usb-name",), **kwargs)

    def get_data(self, device: Device) -> Any:
        """HTML, with a link to the page of the device."""
        page = dialog_url(self.table.request, "device", device.id)
        shown = format_html(
            '{}&nbsp;<a href="{}" style="{}">{}</a>', device.icon, page, _LINK, verbatim(device.short_name)
        )
        more = [device.usb_id if device.name else None, device.shown_description]
        return format_html("{}{}", shown, format_html_join("", "<div>{}</div>", [(it,) for it in more if it]))


def _location(device: Device) -> str | None:
    return device.location or None


class LocationColumn(tables.Column):
    """Bus and device number, as lsusb prints them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(_location, verbose_name=_("Bus and Device"), classes=_IN_ONE_LINE, **kwargs)


class PortColumn(SortedColumn):
    """The port, as the kernel names it."""

    sort_key = "port"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("port", verbose_name=_("Port"), classes=_IN_ONE_LINE, **kwargs)


class SerialColumn(tables.Column):
    """The serial number."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            "serial", verbose_name=_("Serial Number"), filters=(verbatim,), classes=("usb-words",), **kwargs
        )


class StateColumn(SortedColumn):
    """The state, and the reason for it. To be named in ``status_columns``."""

    sort_key = "state"

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
        super().__init__("state_since", verbose_name=_("For"), classes=("usb-text",), **kwargs)

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


class TellingTable(tables.DataTable):
    """A table that says why it is empty: that there is nothing, or that the service could not be asked.

    :cvar problem: the latter, with ``{}`` for what the service says.
    """

    problem: Any = _("The USB devices could not be retrieved: {}")
    _told: Any = None

    def say(self, error: Exception) -> None:
        """The service could not be asked.

        :param error: one of `usb_dashboard.errors.ERRORS`
        """
        self._told = format_html(self.problem, verbatim(errors.explain(error)))

    def get_empty_message(self) -> Any:
        """What stands in place of rows."""
        return self._told or super().get_empty_message()


class DevicesTable(TellingTable):
    """A table that is watched (`usb_dashboard.watch`)."""

    # All actions are links to dialogs.
    needs_form_wrapper = False


class DevicesFilter(tables.FilterAction):
    """By state, or by any text. The view does it: what the service can find it need not send."""

    name = "filter_usb_devices"
    filter_type = "server"
    filter_choices: tuple[tuple[str, Any, bool], ...] = (
        ("text", _("Text contains"), True),
        ("state", _("State ="), True),
    )

    def filter(self, table: tables.DataTable, devices: list[Device], wanted: str) -> list[Device]:
        """All: Horizon asks once more where the table's form was sent."""
        return devices


class PagedDevicesTable(DevicesTable):
    """A table of devices of which there may be very many: page by page, sorted by the service.

    :ivar look: what page of them it is to show.
    """

    # The filter is a form.
    needs_form_wrapper = True

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        markers = (self._meta.pagination_param, self._meta.prev_pagination_param)
        sorted_columns = [it for it in self.columns.values() if isinstance(it, SortedColumn)]
        self.look = paging.Look.of(request.GET, markers, {column.sort_key for column in sorted_columns})
        self._page = paging.Page([])
        for column in self.columns.values():
            # Horizon's script would sort the rows of the page only.
            column.classes = [name for name in column.classes if name != "sortable"]

    def wanted(self) -> tuple[dict[str, str], str]:
        """What the filter asks for: parameters of the API, and a text that something shown has."""
        text, field = self.get_filter_string().strip(), self.get_filter_field()
        if not text or field not in ("state", "host"):
            return {}, text
        return {field: _state(text) if field == "state" else text}, ""

    def show(self, page: paging.Page) -> None:
        """The devices of a page, and the way to those before and after."""
        self._page = page
        self.data = page.devices

    def has_prev_data(self) -> bool:
        """Whether there is a page before."""
        return self._page.before

    def has_more_data(self) -> bool:
        """Whether there is a page after."""
        return self._page.after

    def get_pagination_string(self) -> str:
        """The query of the page after, in the same order."""
        return urlencode({self._meta.pagination_param: self.data[-1].id, **self.look.sorting})

    def get_prev_pagination_string(self) -> str:
        """The query of the page before, in the same order."""
        return urlencode({self._meta.prev_pagination_param: self.data[0].id, **self.look.sorting})


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
