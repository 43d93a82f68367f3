# SPDX-License-Identifier: Apache-2.0
"""The tab on the page of an instance."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from horizon import tabs

from usb_dashboard import api, errors, times
from usb_dashboard import tables as usb_tables
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

    def get_context_data(self, request: HttpRequest, **kwargs: Any) -> dict[str, Any]:
        """With where to ask for the table alone."""
        times.activate(request)
        address = usb_tables.dialog_url(request, "server_devices", self._server_id)
        return super().get_context_data(request, **kwargs) | {"watch_address": address}

    def get_server_usb_devices_data(self) -> list[Device]:
        """The devices; none, and the reason in the table, if the service cannot be asked."""
        try:
            return tables.devices_of(self.request, self._server_id)
        except errors.ERRORS as error:
            self._tables[tables.ServerDevicesTable._meta.name].say(error)
            return []

    @property
    def _server_id(self) -> str:
        return self.tab_group.kwargs["instance_id"]
