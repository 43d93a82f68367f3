# SPDX-License-Identifier: Apache-2.0
"""Pages and dialogs below Admin > Compute > USB Devices."""

from __future__ import annotations

from typing import Any

from django.urls import reverse, reverse_lazy
from django.utils.translation import gettext_lazy as _
from horizon import forms as horizon_forms
from horizon import tables as horizon_tables
from horizon import views as horizon_views
from horizon.utils.memoized import memoized_method
from openstack_dashboard.api import nova

from usb_dashboard import api, device_page, errors, watch
from usb_dashboard.devices import Device
from usb_dashboard.panels.admin import forms, listing, port_tree, tables

_INDEX = reverse_lazy("horizon:admin:usb:index")


class IndexView(watch.WatchedTableView):
    """All devices, and below them the hosts."""

    table_class = tables.DevicesTable
    template_name = "usb/admin/index.html"
    page_title = _("USB Devices")

    def devices(self) -> list[Device]:
        """The devices of all hosts."""
        return listing.complete(self.request, api.device_list(self.request), self._hosts())

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With the table of the hosts."""
        hosts: list[listing.Host] = []
        with errors.told(self.request, _("Unable to retrieve the hosts: %s")):
            hosts = self._hosts()
        return super().get_context_data(hosts_table=tables.HostsTable(self.request, data=hosts), **kwargs)

    @memoized_method
    def _hosts(self) -> list[listing.Host]:
        return listing.hosts(self.request)


class DeviceView(device_page.DeviceView):
    """For the operator."""

    def servers(self, device: Device) -> list[Any]:
        """Those of all projects on the host of the device."""
        found, _more = nova.server_list(self.request, {"all_tenants": True, "host": device.host})
        return list(found)

    def table(self, device: Device) -> horizon_tables.DataTable:
        """Of the panel."""
        device.host_up = True
        return tables.DevicesTable(self.request, data=[device])


class HostView(errors.LoginView, horizon_views.HorizonTemplateView):
    """A host: its agent, and what is plugged in where."""

    template_name = "usb/admin/host.html"
    page_title = _("USB Devices of {{ host.host }}")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With the host and its ports; where they cannot be had, the list of all hosts says why."""
        message = _("Unable to retrieve the USB devices of the host: %s")
        with errors.told(self.request, message, redirect=str(_INDEX)):
            host = listing.host(self.request, kwargs["host"])
            devices = listing.complete(self.request, api.device_list(self.request, host=host.host), [host])
        for row in tables.PlugsTable(self.request, data=devices).get_rows():
            row.datum.cells = row.cells
        return super().get_context_data(
            **kwargs | {"host": host},
            hosts_table=tables.HostsTable(self.request, data=[host]),
            buses=port_tree.build(devices),
        )


class DescribeView(errors.LoginView, horizon_forms.ModalFormView):
    """The dialog in which a device is described."""

    form_class = forms.DescribeForm
    template_name = "usb/admin/describe.html"
    page_title = modal_header = _("Edit Description")
    modal_id = "describe_usb_device_modal"
    form_id = "describe_usb_device_form"
    submit_label = _("Save")
    success_url = _INDEX

    def get_form_kwargs(self) -> dict[str, Any]:
        """The form knows its device."""
        return super().get_form_kwargs() | {"device_id": self.kwargs["device_id"]}

    def after_login(self) -> str:
        """The panel."""
        return str(_INDEX)

    def get_initial(self) -> dict[str, Any]:
        """What is written now."""
        if self.request.method == "POST":
            # Nobody looks at it, and a service that is away now is to be told of in the dialog.
            return {}
        with errors.told(self.request, _("Unable to retrieve the USB device: %s"), redirect=str(_INDEX)):
            return {"description": api.device_get(self.request, self.kwargs["device_id"]).description}
        return {}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With the address that the form goes to."""
        address = reverse("horizon:admin:usb:describe", args=(self.kwargs["device_id"],))
        return super().get_context_data(**kwargs) | {"submit_url": address}
