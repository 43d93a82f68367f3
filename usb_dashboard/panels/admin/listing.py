# SPDX-License-Identifier: Apache-2.0
"""What an operator sees of devices and hosts, from all that know of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest
from openstack_dashboard.api import base, nova

from usb_dashboard import api, errors
from usb_dashboard.devices import Device


class Host(base.APIDictWrapper):
    """A host as the service sends it."""


def hosts(request: HttpRequest) -> list[Host]:
    """The hosts with an agent."""
    return [Host(host) for host in api.host_list(request)]


def host(request: HttpRequest, name: str) -> Host:
    """One of them; raises `keystoneauth1.exceptions.NotFound` where there is none of the name."""
    return Host(api.usbclient(request).hosts.get(name))


def complete(request: HttpRequest, devices: list[Device], hosts: Iterable[Host]) -> list[Device]:
    """Devices with ``server_name``, which is the id where Nova tells no name, and ``host_up``."""
    names = _server_names(request, {device.server_id for device in devices} - {None})
    up = {host.host for host in hosts if host.state == "up"}
    for device in devices:
        device.server_name = names.get(device.server_id, device.server_id)
        device.host_up = device.host in up
    return devices


def _server_names(request: HttpRequest, server_ids: set[str]) -> dict[str, str]:
    """The names of servers, in one call to Nova at most; not all of them where there are very many."""
    if not server_ids:
        return {}
    wanted: dict[str, Any] = {"all_tenants": True}
    if len(server_ids) == 1:
        wanted["uuid"] = next(iter(server_ids))
    try:
        servers, _more = nova.server_list(request, wanted, detailed=False)
    except errors.UNAUTHORIZED:
        raise
    except errors.ERRORS:
        # The devices are what the page is about.
        return {}
    return {server.id: server.name for server in servers}
