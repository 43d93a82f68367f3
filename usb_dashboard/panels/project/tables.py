# SPDX-License-Identifier: Apache-2.0
"""The table of the panel."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from horizon import tables

from usb_dashboard import tables as usb_tables
from usb_dashboard.devices import Device
from usb_dashboard.history import History
from usb_dashboard.panels.instances import row_actions
from usb_dashboard.panels.project import servers


class DevicesFilter(tables.FilterAction):
    """By any text that is shown; in the browser, if that can."""

    name = "filter_usb_devices"

    def filter(self, table: tables.DataTable, devices: list[Device], wanted: str) -> list[Device]:
        """The devices that fit, whatever the case of the letters."""
        shown = ("name", "usb_id", "location", "port", "serial", "server_name")
        wanted = wanted.casefold()
        return [
            device
            for device in devices
            if any(wanted in (getattr(device, field) or "").casefold() for field in shown)
        ]


class Attach(tables.LinkAction):
    """Opens the dialog in which a server is chosen."""

    name = "attach"
    verbose_name = _("Attach")
    url = "horizon:project:usb:attach_device"
    classes = ("ajax-modal",)
    policy_rules = row_actions.AttachUSB.policy_rules

    def allowed(self, request: HttpRequest, device: Device) -> bool:
        """It is free."""
        return device.available


class DeviceRow(usb_tables.DeviceRow):
    """A row that knows its server."""

    def get_data(self, request: HttpRequest, device_id: str) -> Device:
        """The device now."""
        return servers.with_names(request, [super().get_data(request, device_id)])[0]


def _server(device: Device) -> Any:
    if device.server_id is None:
        return None
    page = reverse("horizon:project:instances:detail", args=(device.server_id,))
    return usb_tables.link(page, device.server_name)


class DevicesTable(usb_tables.DevicesTable):
    """All devices that the project has and may have."""

    name = usb_tables.NameColumn()
    usb_id = tables.Column("usb_id", verbose_name=_("Vendor:Product"))
    location = usb_tables.LocationColumn()
    port = tables.Column("port", verbose_name=_("Port"))
    speed = tables.Column("shown_speed", verbose_name=_("Speed"))
    serial = usb_tables.SerialColumn()
    state = usb_tables.StateColumn()
    server = tables.Column(_server, verbose_name=_("Instance"))

    class Meta:
        name = "usb_devices"
        verbose_name = _("USB Devices")
        no_data_message = _("No USB device is offered to this project.")
        row_class = DeviceRow
        status_columns = ("state",)
        row_actions_dropdown_template = usb_tables.ROW_ACTIONS
        table_actions = (DevicesFilter,)
        row_actions = (Attach, usb_tables.Detach, History)
        multi_select = False
