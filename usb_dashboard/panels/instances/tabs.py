# SPDX-License-Identifier: Apache-2.0
"""The tab on the page of an instance."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from horizon import exceptions as horizon_exceptions
from horizon import tabs

from usb_dashboard import api, errors
from usb_dashboard.devices import Device
from usb_dashboard.panels.instances import tables


class USBTab(tabs.TableTab):
    """What the instance has or is to have."""

    name = _("USB Devices")
    slug = "usb"
    table_classes = (tables.ServerDevicesTable,)
    template_name = "usb/_tab.html"
    preload = False
    policy_rules = (("usb-passthrough", "usb-passthrough:attachments:list"),)

    def allowed(self, request: HttpRequest) -> bool:
        """Where the service can be asked."""
        return super().allowed(request) and api.is_available(request)

    def get_server_usb_devices_data(self) -> list[Device]:
        """The devices."""
        server_id = self.tab_group.kwargs["instance_id"]
        try:
            devices = api.device_list(self.request, server_id=server_id)
        except errors.ERRORS as error:
            message = _("Unable to retrieve the USB devices: %s") % errors.explain(error)
            horizon_exceptions.handle(self.request, message, details="")
            return []
        return [device for device in devices if device.server_id == server_id]
