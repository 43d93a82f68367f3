# SPDX-License-Identifier: Apache-2.0
"""The project's servers."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from openstack_dashboard.api import nova

from usb_dashboard import errors
from usb_dashboard.devices import Device
from usb_dashboard.panels.instances import row_actions


def with_names(request: HttpRequest, devices: list[Device]) -> list[Device]:
    """Devices with ``server_name``: the id where Nova tells no name. Asks Nova once, if a server has any."""
    names = {}
    if any(device.server_id for device in devices):
        try:
            servers, _more = nova.server_list(request, detailed=False)
            names = {server.id: server.name for server in servers}
        except errors.UNAUTHORIZED:
            raise
        except errors.ERRORS:
            # The devices are what the page is about.
            pass
    for device in devices:
        device.server_name = names.get(device.server_id, device.server_id)
    return devices


def on_host_of(request: HttpRequest, device: Device) -> list[tuple[Any, bool]]:
    """The servers on the host that a device is plugged into, and whether they may be given it now."""
    servers, _more = nova.server_list(request)
    return [
        (server, row_actions.may_attach(server)) for server in servers if _host_id(server) == device.host_id
    ]


def _host_id(server: Any) -> str:
    # Horizon's server leaves out what it has no use for; what Nova sent is below.
    return server._apiresource.hostId
