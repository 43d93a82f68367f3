# SPDX-License-Identifier: Apache-2.0
"""What an operator sees of devices and hosts, from all that know of them."""

from __future__ import annotations

from collections.abc import Iterable

from django.http import HttpRequest
from openstack_dashboard.api import base

from usb_dashboard import api, servers
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
    up = {host.host for host in hosts if host.state == "up"}
    for device in devices:
        device.host_up = device.host in up
    servers.with_names(request, devices, all_projects=True)
    return devices
