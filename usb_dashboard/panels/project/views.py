# SPDX-License-Identifier: Apache-2.0
"""Pages and dialogs below Project > Compute > USB Devices."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from horizon import exceptions as horizon_exceptions
from horizon import tables as horizon_tables

from usb_dashboard import api, errors
from usb_dashboard.devices import Device
from usb_dashboard.panels.instances import forms
from usb_dashboard.panels.instances import views as instances
from usb_dashboard.panels.project import servers, tables


class IndexView(errors.LoginView, horizon_tables.DataTableView):
    """What the project has and may have."""

    table_class = tables.DevicesTable
    page_title = _("USB Devices")

    def get_data(self) -> list[Device]:
        """The devices, those first that can be attached."""
        try:
            return servers.with_names(self.request, api.device_list(self.request))
        except errors.UNAUTHORIZED:
            raise
        except errors.ERRORS as error:
            message = _("Unable to retrieve the USB devices: %s") % errors.explain(error)
            horizon_exceptions.handle(self.request, message, details="")
            return []


class AttachDeviceView(instances.Dialog):
    """A server is chosen, for a device."""

    form_class = forms.AttachDeviceForm
    template_name = "usb/attach_device.html"
    page_title = modal_header = _("Attach USB Device")
    modal_id = "attach_device_modal"
    form_id = "attach_device_form"
    submit_label = _("Attach")

    def subject(self) -> str:
        """The device."""
        return self.kwargs["device_id"]

    def get_success_url(self) -> str:
        """The panel."""
        return reverse("horizon:project:usb:index")

    def choices(self) -> list[tuple[Any, bool]]:
        """The project's servers on the host of the device."""
        return servers.on_host_of(self.request, api.device_get(self.request, self.subject()))
