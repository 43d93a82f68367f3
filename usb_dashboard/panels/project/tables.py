# SPDX-License-Identifier: Apache-2.0
"""The table of the panel."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from horizon import tables

from novaclient_usb import ReasonCode
from usb_dashboard import tables as usb_tables
from usb_dashboard.devices import Device, verbatim
from usb_dashboard.history import History
from usb_dashboard.panels.instances import row_actions


class Attach(tables.LinkAction):
    """Opens the dialog in which a server is chosen."""

    name = "attach"
    verbose_name = _("Attach")
    url = "horizon:project:usb:attach_device"
    classes = ("ajax-modal",)
    policy_rules = row_actions.AttachUSB.policy_rules

    def allowed(self, request: HttpRequest, device: Device) -> bool:
        """It is free, and one of the project's instances can take it now."""
        return device.available and bool(device.takers or device.far_takers)


class JoinQueue(tables.LinkAction):
    """Opens the dialog in which a server is chosen that waits for the device."""

    name = "queue"
    verbose_name = _("Join the Queue")
    url = "horizon:project:usb:queue"
    classes = ("ajax-modal",)
    policy_rules = (("usb-passthrough", "usb-passthrough:queue:join"),)

    def allowed(self, request: HttpRequest, device: Device) -> bool:
        """Another server has it."""
        return device.server_id is not None or device.reason_code == ReasonCode.IN_USE


def _server(device: Device) -> Any:
    """The instance that has the device, or those that can take it now."""
    if device.server_id is None:
        names = ", ".join(sorted(server.name for server in device.takers))
        here = format_html(_("Can be attached to: {}"), verbatim(names)) if names else None
        # These may be all instances of the project.
        far = _("Can be attached over the network") if device.far_takers else None
        return format_html("{}<div>{}</div>", here, far) if here and far else here or far
    return usb_tables.server_link("project", device)


class DevicesTable(usb_tables.PagedDevicesTable):
    """All devices that the project has and may have."""

    name = usb_tables.NameColumn()
    location = usb_tables.LocationColumn()
    port = usb_tables.PortColumn()
    speed = tables.Column("shown_speed", verbose_name=_("Speed"), classes=("text-nowrap",))
    serial = usb_tables.SerialColumn()
    state = usb_tables.StateColumn()
    server = tables.Column(_server, verbose_name=_("Instance"), classes=("usb-text",))

    class Meta:
        name = "usb_devices"
        verbose_name = _("USB Devices")
        no_data_message = _("No USB devices are available to this project.")
        row_class = usb_tables.DeviceRow
        status_columns = ("state",)
        row_actions_dropdown_template = usb_tables.ROW_ACTIONS
        table_actions = (usb_tables.DevicesFilter,)
        table_actions_template = usb_tables.TABLE_ACTIONS
        template = usb_tables.PAGED
        row_actions = (
            Attach,
            usb_tables.Detach,
            usb_tables.Retry,
            usb_tables.ChangeLease,
            JoinQueue,
            History,
        )
        multi_select = False
