# SPDX-License-Identifier: Apache-2.0
"""What the stock Instances pages get: Attach and Detach USB Device in the rows, USB devices in the overview.

Horizon has no hook for that, so private names of its tables and tabs are used, here and nowhere else.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from horizon import tables
from openstack_dashboard import policy
from openstack_dashboard.dashboards.admin.instances import tables as admin
from openstack_dashboard.dashboards.admin.instances import tabs as admin_tabs
from openstack_dashboard.dashboards.project.instances import tables as project
from openstack_dashboard.dashboards.project.instances import tabs as project_tabs

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


class OverviewTab(project_tabs.OverviewTab):
    """Horizon's own, and below it the names and states of the instance's USB devices."""

    template_name = "usb/_instance_overview.html"

    def get_context_data(self, request: HttpRequest) -> dict[str, Any]:
        """With where to ask for the devices, if the user may."""
        group = self.tab_group
        address = dialog_url(request, "overview", group.kwargs["instance_id"]) if group.get_tab("usb") else ""
        ours = {"stock_template": project_tabs.OverviewTab.template_name, "usb_address": address}
        return super().get_context_data(request) | ours


def install() -> None:
    """Offer all that; doing it twice changes nothing."""
    _add(project.InstancesTable, AttachUSB, after="detach_volume")
    _add(project.InstancesTable, DetachUSB, after="attach_usb")
    _add(admin.AdminInstancesTable, AttachUSB, after="edit")
    _add(admin.AdminInstancesTable, DetachUSB, after="attach_usb")
    for group in (project_tabs.InstanceDetailTabs, admin_tabs.AdminInstanceDetailTabs):
        group.tabs = tuple(OverviewTab if tab is project_tabs.OverviewTab else tab for tab in group.tabs)


def _add(table: type[tables.DataTable], action: type[tables.BaseAction], after: str) -> None:
    if action.name in table.base_actions:
        return
    actions = list(table._meta.row_actions)
    names = [known.name for known in actions]
    # Another plugin may have taken the neighbour away.
    actions.insert(names.index(after) + 1 if after in names else len(names), action)
    table._meta.row_actions = tuple(actions)
    table.base_actions[action.name] = action()
