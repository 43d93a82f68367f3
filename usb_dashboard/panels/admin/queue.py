# SPDX-License-Identifier: Apache-2.0
"""Who waits for which device, and which servers have one for a limited time only."""

from __future__ import annotations

from typing import Any

from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from horizon import tables as horizon_tables
from horizon.utils.memoized import memoized_method

from usb_dashboard import api, errors, queue, servers, times
from usb_dashboard import tables as usb_tables
from usb_dashboard.devices import Device, verbatim
from usb_dashboard.panels.admin import listing, tables


class ChangeLease(usb_tables.ChangeLease):
    """Comes back to this page."""

    place = "queue"


def _wanted(entry: queue.Entry) -> Any:
    if entry.kind is not None:
        return format_html(_("Any of the kind {}"), verbatim(entry.kind))
    return verbatim(entry.wanted) if entry.device is None else tables.link_to_device(entry.device)


class _ProjectColumn(horizon_tables.Column):
    def __init__(self) -> None:
        super().__init__(
            "project_name", verbose_name=_("Project"), filters=(verbatim,), classes=("usb-text",)
        )


class QueueTable(queue.QueueTable):
    """Of all devices and projects."""

    wanted = horizon_tables.Column(_wanted, verbose_name=_("USB Device"), classes=("usb-name",))
    project = _ProjectColumn()

    class Meta:
        name = "admin_usb_queue"
        verbose_name = _("Queue")
        no_data_message = _("No instance waits for a USB device.")
        row_class = usb_tables.DeviceRow
        row_actions_dropdown_template = usb_tables.ROW_ACTIONS
        columns = ("wanted", "server", "project", "place", "since")
        table_actions = (queue.Leave,)
        row_actions = (queue.Leave,)


class LeasesTable(usb_tables.DevicesTable):
    """Those first that end first."""

    device = horizon_tables.Column(tables.link_to_device, verbose_name=_("USB Device"), classes=("usb-name",))
    server = usb_tables.ServerColumn()
    project = _ProjectColumn()
    until = horizon_tables.Column(
        "lease_until", verbose_name=_("Ends"), filters=(times.exact,), classes=("usb-time",)
    )

    class Meta:
        name = "admin_usb_leases"
        verbose_name = _("Leases")
        no_data_message = _("No instance has a USB device for a limited time.")
        row_class = usb_tables.DeviceRow
        row_actions_dropdown_template = usb_tables.ROW_ACTIONS
        row_actions = (ChangeLease,)
        multi_select = False


class QueueView(errors.LoginView, horizon_tables.MultiTableView):
    """Both tables."""

    table_classes = (QueueTable, LeasesTable)
    template_name = "usb/admin/queue.html"
    page_title = _("Queue and Leases")

    def get_admin_usb_queue_data(self) -> list[queue.Entry]:
        """Who waits."""
        return self._found()[0]

    def get_admin_usb_leases_data(self) -> list[Device]:
        """The devices that are taken back at some time."""
        return self._found()[1]

    @memoized_method
    def _found(self) -> tuple[list[queue.Entry], list[Device]]:
        """None, and the reason in the tables, if the service cannot be asked."""
        with errors.told_in(*self.get_tables().values()):
            return self._look()
        return [], []

    def _look(self) -> tuple[list[queue.Entry], list[Device]]:
        entries = [queue.Entry(entry) for entry in api.queue_list(self.request)]
        devices = {device.id: device for device in api.device_list(self.request)}
        for entry in entries:
            entry.device = devices.get(entry.device_id)
        # An older service does not tell.
        leased = [device for device in devices.values() if getattr(device, "lease_until", None) is not None]
        leased.sort(key=lambda device: device.lease_until)
        servers.with_names(self.request, [*entries, *leased], all_projects=True)
        listing.with_project_names(self.request, [*entries, *leased])
        return entries, leased
