# SPDX-License-Identifier: Apache-2.0
"""What an operator sees of devices and hosts, from all that know of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest
from openstack_dashboard.api import base, keystone

from usb_dashboard import api, errors, servers
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
    """Devices with ``host_up``, ``server_name`` and ``project_name``; ids where nobody tells the names."""
    up = {host.host for host in hosts if host.state == "up"}
    for device in devices:
        device.host_up = device.host in up
    with_project_names(request, devices)
    servers.with_names(request, devices, all_projects=True)
    return devices


def with_project_names(request: HttpRequest, items: Iterable[Any]) -> None:
    """Devices, places in the queue, or servers, with ``project_name``; the id where Keystone tells no name.

    Asks Keystone once, if there is any project.
    """
    owned = [item for item in items if item.project_id is not None]
    names = project_names(request) if owned else {}
    for item in items:
        item.project_name = names.get(item.project_id, item.project_id)


def project_names(request: HttpRequest) -> dict[str, str]:
    """Project id -> name, of all projects; none of them where Keystone does not tell."""
    none: tuple[list[Any], bool] = ([], False)
    projects, _more = errors.unless_refused(lambda: keystone.tenant_list(request), none)
    return {project.id: project.name for project in projects}
