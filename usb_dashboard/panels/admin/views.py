# SPDX-License-Identifier: Apache-2.0
"""Pages and dialogs below Admin > Compute > USB Devices."""

from __future__ import annotations

from typing import Any

from django.urls import reverse, reverse_lazy
from django.utils.translation import gettext_lazy as _
from horizon import exceptions as horizon_exceptions
from horizon import forms as horizon_forms
from horizon import tables as horizon_tables
from horizon import views as horizon_views
from horizon.utils.memoized import memoized_method

from usb_dashboard import api, errors
from usb_dashboard.devices import Device
from usb_dashboard.panels.admin import forms, listing, port_tree, tables

_INDEX = reverse_lazy("horizon:admin:usb:index")


class IndexView(errors.LoginView, horizon_tables.DataTableView):
    """All devices, and below them the hosts."""

    table_class = tables.DevicesTable
    template_name = "usb/admin/index.html"
    page_title = _("USB Devices")

    def get_data(self) -> list[Device]:
        """The devices of all hosts."""
        devices, hosts = self._found()
        return listing.complete(self.request, devices, hosts)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With the table of the hosts."""
        _devices, hosts = self._found()
        return super().get_context_data(hosts_table=tables.HostsTable(self.request, data=hosts), **kwargs)

    @memoized_method
    def _found(self) -> tuple[list[Device], list[listing.Host]]:
        try:
            return api.device_list(self.request), listing.hosts(self.request)
        except errors.UNAUTHORIZED:
            raise
        except errors.ERRORS as error:
            message = _("Unable to retrieve the USB devices: %s") % errors.explain(error)
            horizon_exceptions.handle(self.request, message, details="")
            return [], []


class HostView(errors.LoginView, horizon_views.HorizonTemplateView):
    """A host: its agent, and what is plugged in where."""

    template_name = "usb/admin/host.html"
    page_title = _("USB Devices of {{ host.host }}")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With the host and its ports; where they cannot be had, the list of all hosts says why."""
        try:
            host = listing.host(self.request, kwargs["host"])
            devices = api.device_list(self.request, host=host.host)
        except errors.UNAUTHORIZED:
            raise
        except errors.ERRORS as error:
            message = _("Unable to retrieve the USB devices of the host: %s") % errors.explain(error)
            horizon_exceptions.handle(self.request, message, redirect=str(_INDEX), details="")
            raise
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
        try:
            return {"description": api.device_get(self.request, self.kwargs["device_id"]).description}
        except errors.UNAUTHORIZED:
            raise
        except errors.ERRORS as error:
            message = _("Unable to retrieve the USB device: %s") % errors.explain(error)
            horizon_exceptions.handle(self.request, message, redirect=str(_INDEX), details="")
            raise

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With the address that the form goes to."""
        address = reverse("horizon:admin:usb:describe", args=(self.kwargs["device_id"],))
        return super().get_context_data(**kwargs) | {"submit_url": address}
