# SPDX-License-Identifier: Apache-2.0
"""The table of what a server has."""

from __future__ import annotations

from django.http import HttpRequest
from django.template.defaultfilters import timesince
from django.utils.translation import gettext_lazy as _
from horizon import tables
from horizon.utils import filters
from keystoneauth1 import exceptions

from usb_dashboard import tables as usb_tables
from usb_dashboard.devices import Device
from usb_dashboard.history import History
from usb_dashboard.panels.instances import row_actions


class Attach(tables.LinkAction):
    """Opens the dialog that attaches."""

    name = "attach"
    verbose_name = _("Attach USB Device")
    classes = ("ajax-modal",)
    icon = "plus"
    policy_rules = row_actions.AttachUSB.policy_rules

    def allowed(self, request: HttpRequest, device: None = None) -> bool:
        """Above the table in the tab; a row that is updated has no use for it."""
        instance = self.table.kwargs.get("instance")
        return instance is not None and row_actions.may_attach(instance)

    def get_link_url(self, device: None = None) -> str:
        """Of the dashboard that the tab is in."""
        return usb_tables.dialog_url(
            self.table.request, "attach", self.table.kwargs["instance_id"], place="tab"
        )


class Detach(usb_tables.Detach):
    """Comes back to the tab."""

    place = "tab"


class DeviceRow(usb_tables.DeviceRow):
    """A row that goes away with its device."""

    def get_data(self, request: HttpRequest, device_id: str) -> Device:
        """The device now; `keystoneauth1.exceptions.NotFound` once the server no longer has it."""
        device = super().get_data(request, device_id)
        if device.server_id != self.table.kwargs["instance_id"]:
            raise exceptions.NotFound()
        return device


class ServerDevicesTable(usb_tables.DevicesTable):
    """What a server has or is to have."""

    name = usb_tables.NameColumn()
    usb_id = tables.Column("usb_id", verbose_name=_("Vendor:Product"))
    location = usb_tables.LocationColumn()
    serial = usb_tables.SerialColumn()
    state = usb_tables.StateColumn()
    since = tables.Column("updated_at", verbose_name=_("Since"), filters=(filters.parse_isotime, timesince))

    class Meta:
        name = "server_usb_devices"
        verbose_name = _("USB Devices")
        no_data_message = _("This instance has no USB device, and none waits for it.")
        row_class = DeviceRow
        status_columns = ("state",)
        row_actions_dropdown_template = usb_tables.ROW_ACTIONS
        table_actions = (Attach,)
        row_actions = (Detach, History)
        multi_select = False

    def get_absolute_url(self) -> str:
        """Where rows are updated: Horizon's page around the tab does not do that."""
        return usb_tables.dialog_url(self.request, "detach", self.kwargs["instance_id"])
