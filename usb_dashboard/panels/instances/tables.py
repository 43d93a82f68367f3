# SPDX-License-Identifier: Apache-2.0
"""The table of what a server has."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from horizon import tables

from usb_dashboard import api, servers
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
        return instance is not None and servers.may_attach(instance)

    def get_link_url(self, device: None = None) -> str:
        """Of the dashboard that the tab is in."""
        return usb_tables.dialog_url(
            self.table.request, "attach", self.table.kwargs["instance_id"], place="tab"
        )


class Detach(usb_tables.Detach):
    """Comes back to the tab."""

    place = "tab"


class Retry(usb_tables.Retry):
    """Comes back to the tab."""

    place = "tab"


class ChangeLease(usb_tables.ChangeLease):
    """Comes back to the tab."""

    place = "tab"


class ServerDevicesTable(usb_tables.DevicesTable):
    """What a server has or is to have."""

    name = usb_tables.NameColumn()
    location = usb_tables.LocationColumn()
    serial = usb_tables.SerialColumn()
    state = usb_tables.StateColumn()
    since = usb_tables.ForColumn()

    class Meta:
        name = "server_usb_devices"
        verbose_name = _("USB Devices")
        no_data_message = _("No USB devices are attached or pending.")
        row_class = usb_tables.DeviceRow
        status_columns = ("state",)
        row_actions_dropdown_template = usb_tables.ROW_ACTIONS
        table_actions = (Attach,)
        row_actions = (Detach, Retry, ChangeLease, History)
        multi_select = False


def of_server(request: HttpRequest, server_id: str) -> ServerDevicesTable:
    """The table of a server; raises one of `usb_dashboard.errors.ERRORS`."""
    return ServerDevicesTable(request, data=devices_of(request, server_id), instance_id=server_id)


def devices_of(request: HttpRequest, server_id: str) -> list[Device]:
    """What a server has or is to have; raises one of `usb_dashboard.errors.ERRORS`."""
    devices = api.device_list(request, server_id=server_id)
    return [device for device in devices if device.server_id == server_id]
