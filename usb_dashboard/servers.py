# SPDX-License-Identifier: Apache-2.0
"""The servers that have USB devices, or may have them: Horizon calls them instances."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from django.http import HttpRequest
from openstack_dashboard.api import nova
from openstack_dashboard.dashboards.project.instances import tables as project

from usb_dashboard import errors
from usb_dashboard.devices import Device

Named = TypeVar("Named", bound=Any)

# While a server is off or asleep, the device is taken for it, and is attached as soon as it runs. In all
# other states the server has no host, or is about to leave it.
_MAY_ATTACH = ("ACTIVE", "PAUSED", "SUSPENDED", "SHUTOFF")
_STATUSES = dict(project.STATUS_DISPLAY_CHOICES)


def may_attach(server: Any) -> bool:
    """Whether a server of Nova's is in a state to be given a device."""
    return server.status in _MAY_ATTACH and not project.is_deleting(server)


def status(server: Any) -> Any:
    """The status of a server as Horizon's own pages call it (translated)."""
    return _STATUSES.get(server.status.lower(), server.status)


def get(request: HttpRequest, server_id: str) -> Any | None:
    """A server of Nova's; None where Nova does not tell, for the devices are what the page is about."""
    return errors.unless_refused(lambda: nova.server_get(request, server_id), None)


def label(server: Any | None, server_id: str) -> str:
    """What a server is called in a sentence; its id if that is all that is known."""
    return str(server.name or server.id) if server is not None else server_id


def on_host_of(servers: Iterable[Any], device: Device) -> list[Any]:
    """Those of the project's servers that are on the host that a device is plugged into."""
    return [server for server in servers if _host_id(server) == device.host_id]


def near_and_far(servers: Sequence[Any], device: Device) -> tuple[list[Any], list[Any]]:
    """Those of the project's servers that may have a device: on its host, and over the network.

    Whether the hosts of the latter take part in that is not known here.
    """
    near = on_host_of(servers, device)
    # An older service does not tell.
    if not getattr(device, "over_network", False):
        return near, []
    return near, [server for server in servers if _host_id(server) != device.host_id]


def set_takers(servers: Iterable[Any], device: Device) -> None:
    """Set ``takers`` of a device, the project's servers that can take it now; ``far_takers``: by network."""
    able = [server for server in servers if may_attach(server)] if device.available else []
    device.takers, device.far_takers = near_and_far(able, device)


def of_project(request: HttpRequest) -> list[Any]:
    """The servers of the project; raises one of `usb_dashboard.errors.ERRORS`."""
    servers, _more = nova.server_list(request)
    return list(servers)


def of_host(request: HttpRequest, host: str) -> list[Any]:
    """The servers of all projects on a host; raises one of `usb_dashboard.errors.ERRORS`."""
    servers, _more = nova.server_list(request, {"all_tenants": True, "host": host})
    return list(servers)


def with_names(
    request: HttpRequest,
    items: Sequence[Named],
    *,
    all_projects: bool = False,
    servers: Iterable[Any] = (),
) -> Sequence[Named]:
    """Devices, or events, with ``server_name``: the id where Nova tells no name.

    Asks Nova once, if there is any server that is not known yet.

    :param servers: those of Nova's that are known
    """
    known = {server.id: server.name for server in servers}
    unknown = {item.server_id for item in items} - {None} - known.keys()
    known |= names(request, unknown, all_projects=all_projects)
    for item in items:
        item.server_name = known.get(item.server_id, item.server_id)
    return items


def names(request: HttpRequest, server_ids: set[str], *, all_projects: bool) -> dict[str, str]:
    """The names of servers, in one call to Nova at most; not all of them where there are very many."""
    if not server_ids:
        return {}
    wanted: dict[str, Any] = {"all_tenants": True} if all_projects else {}
    if len(server_ids) == 1:
        wanted["uuid"] = next(iter(server_ids))
    none: tuple[list[Any], bool] = ([], False)
    found, _more = errors.unless_refused(lambda: nova.server_list(request, wanted, detailed=False), none)
    return {server.id: server.name for server in found}


def _host_id(server: Any) -> str:
    # Horizon's server leaves out what it has no use for; what Nova sent is below.
    return server._apiresource.hostId
