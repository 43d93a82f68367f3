# SPDX-License-Identifier: Apache-2.0
"""Attach and Detach USB Device, in the rows of the stock Instances tables.

Horizon has no hook for that, so private names of its tables are used, here and nowhere else.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from horizon import tables
from openstack_dashboard import policy
from openstack_dashboard.dashboards.admin.instances import tables as admin
from openstack_dashboard.dashboards.project.instances import tables as project

from usb_dashboard import api, servers
from usb_dashboard.tables import dialog_url


class AttachUSB(policy.PolicyTargetMixin, tables.LinkAction):
    """Opens the dialog. Asks nobody: it is called for each row each time."""

    name = "attach_usb"
    verbose_name = _("Attach USB Device")
    classes = ("ajax-modal",)
    policy_rules = (("usb-passthrough", "usb-passthrough:attachments:create"),)

    def allowed(self, request: HttpRequest, instance: Any) -> bool:
        """Where it may succeed."""
        return servers.may_attach(instance) and api.is_available(request)

    def get_link_url(self, instance: Any) -> str:
        """Of the dashboard that the table is in."""
        return dialog_url(self.table.request, "attach", instance.id)


class DetachUSB(policy.PolicyTargetMixin, tables.LinkAction):
    """Opens the dialog. In any state: a server that failed keeps its devices as well."""

    name = "detach_usb"
    verbose_name = _("Detach USB Device")
    classes = ("ajax-modal",)
    policy_rules = (("usb-passthrough", "usb-passthrough:attachments:delete"),)

    def allowed(self, request: HttpRequest, instance: Any) -> bool:
        """Where it may succeed."""
        return not project.is_deleting(instance) and api.is_available(request)

    def get_link_url(self, instance: Any) -> str:
        """Of the dashboard that the table is in."""
        return dialog_url(self.table.request, "detach", instance.id)


def install() -> None:
    """Offer the actions; doing it twice changes nothing."""
    _add(project.InstancesTable, AttachUSB, after="detach_volume")
    _add(project.InstancesTable, DetachUSB, after="attach_usb")
    _add(admin.AdminInstancesTable, AttachUSB, after="edit")
    _add(admin.AdminInstancesTable, DetachUSB, after="attach_usb")


def _add(table: type[tables.DataTable], action: type[tables.BaseAction], after: str) -> None:
    if action.name in table.base_actions:
        return
    actions = list(table._meta.row_actions)
    names = [known.name for known in actions]
    # Another plugin may have taken the neighbour away.
    actions.insert(names.index(after) + 1 if after in names else len(names), action)
    table._meta.row_actions = tuple(actions)
    table.base_actions[action.name] = action()
