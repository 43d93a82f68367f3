# SPDX-License-Identifier: Apache-2.0
"""The servers that wait for a device."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy
from horizon import tables
from openstack_dashboard.api import base

from usb_dashboard import api, errors, times
from usb_dashboard import tables as usb_tables
from usb_dashboard.devices import Device


class Entry(base.APIDictWrapper):
    """A server that waits, as the service sends it, with ``server_name`` and ``project_name``.

    :ivar device: which it waits for; None if it is one of a kind, or is no longer known.
    """

    device: Device | None = None

    @property
    def wanted(self) -> str:
        """The name of what it waits for; the id of a device that is no longer known."""
        if self.kind is not None:
            return str(self.kind)
        return self.device_id if self.device is None else self.device.label

    @property
    def label(self) -> str:
        """What is removed."""
        return f"{self.server_name}, {self.wanted}"


def of_device(request: HttpRequest, device: Device, *, all_projects: bool) -> list[Entry]:
    """The entries for a device, or for its kind, in the order of their places.

    Raises one of `usb_dashboard.errors.ERRORS`.

    :param all_projects: not those of the user's project only (for admins)
    """
    found = [Entry(entry) for entry in api.queue_list(request)]
    fitting = [
        entry
        for entry in found
        if (entry.device_id == device.id or (entry.kind is not None and entry.kind == device.kind))
        and (all_projects or entry.project_id == request.user.project_id)
    ]
    for entry in fitting:
        entry.device = device if entry.device_id == device.id else None
    return fitting


class Leave(tables.DeleteAction):
    """Take servers out of the queue; a click asks for confirmation."""

    name = "leave"
    policy_rules = (("usb-passthrough", "usb-passthrough:queue:leave"),)
    help_text = _("The instance loses its place. It can join the queue again, at the end.")

    @staticmethod
    def action_present(count: int) -> Any:
        return ngettext_lazy("Remove from Queue", "Remove from Queue", count)

    @staticmethod
    def action_past(count: int) -> Any:
        return ngettext_lazy("Removed from Queue", "Removed from Queue", count)

    def delete(self, request: HttpRequest, entry_id: str) -> None:
        entry = self.table.get_object_by_id(entry_id)
        try:
            api.leave_queue(request, entry.server_id, entry_id)
        except errors.ERRORS as error:
            errors.tell(request, _("Unable to remove the instance from the queue: %s"), error)


class QueueTable(usb_tables.DevicesTable):
    """Those first who came first."""

    problem = _("The queue could not be retrieved: {}")
    # The action is not a link.
    needs_form_wrapper = True

    server = usb_tables.ServerColumn()
    place = tables.Column("place", verbose_name=_("Place"))
    since = tables.Column(
        "created_at", verbose_name=_("Waiting Since"), filters=(times.exact,), classes=("usb-time",)
    )

    class Meta:
        name = "usb_queue"
        verbose_name = _("Queue")
        no_data_message = _("No instance waits for the device.")
        row_class = usb_tables.DeviceRow
        row_actions_dropdown_template = usb_tables.ROW_ACTIONS
        row_actions = (Leave,)
        multi_select = False

    def get_object_display(self, entry: Entry) -> str:
        """What messages call it: Horizon's own show no string of a device as it is."""
        wanted = entry.kind or (entry.device and entry.device.usb_id) or entry.device_id
        return f"{entry.server_name} ({wanted})"
