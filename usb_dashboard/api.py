# SPDX-License-Identifier: Apache-2.0
"""The service, asked with the user's own token.

Calls raise what `novaclient_usb.client` raises, and `horizon.exceptions.ServiceCatalogException` where the
catalog lacks the service: all of it is among `usb_dashboard.errors.ERRORS`.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from horizon.utils.memoized import memoized
from keystoneauth1 import session, token_endpoint
from openstack_dashboard.api import base

from novaclient_usb import client
from usb_dashboard.devices import Device

SERVICE_TYPE = client.SERVICE_TYPE

# More than fit into a dialog that anybody reads.
_EVENTS = 200
# What versions the service has, for every session of this process: to ask once is enough.
_DISCOVERED: dict[str, Any] = {}


def is_available(request: HttpRequest) -> bool:
    """Whether the catalog of the user's token names the service; asks nobody."""
    return bool(base.is_service_enabled(request, SERVICE_TYPE))


@memoized
def usbclient(request: HttpRequest) -> client.Client:
    """The client, for the service that the catalog of the user's token names."""
    verify = not settings.OPENSTACK_SSL_NO_VERIFY and (settings.OPENSTACK_SSL_CACERT or True)
    auth = token_endpoint.Token(base.url_for(request, SERVICE_TYPE), request.user.token.id)
    return client.from_session(session.Session(auth=auth, verify=verify, discovery_cache=_DISCOVERED))


def device_list(
    request: HttpRequest,
    server_id: str | None = None,
    host: str | None = None,
    transport: str | None = None,
) -> list[Device]:
    """The devices that the user may see, in the order in which people choose from them.

    :param server_id: those on the host of this server, and those that the server has
    :param host: those on this host (for admins)
    :param transport: ``any``: also those of other hosts that the server can have over the network
    """
    found = usbclient(request).devices.list(server_id=server_id, host=host, transport=transport)
    return sorted(map(Device, found), key=Device.order)


def device_page(
    request: HttpRequest,
    sort_key: str,
    descending: bool,
    marker: str | None = None,
    limit: int | None = None,
    **filters: str,
) -> list[Device]:
    """The devices that the user may see, as the service sorts them.

    :param marker: those after this one
    :param limit: so many at most; None: all
    :param filters: parameters of the API
    """
    found = usbclient(request).devices.list(
        limit=limit,
        marker=marker,
        sort_key=sort_key,
        sort_dir="desc" if descending else "asc",
        **filters,
    )
    return [Device(device) for device in found]


def device_get(request: HttpRequest, device_id: str) -> Device:
    """One device."""
    return Device(usbclient(request).devices.get(device_id))


def explain(request: HttpRequest, device_id: str, server_id: str | None) -> dict[str, Any]:
    """What must be true for a device to be attached: ``attachable``, and ``conditions``."""
    return usbclient(request).devices.explain(device_id, server_id)


def device_update(request: HttpRequest, device_id: str, **changes: Any) -> Device:
    """Change ``description``, ``enabled``, ``shared`` or ``kind`` of a device (for admins)."""
    return Device(usbclient(request).devices.update(device_id, **changes))


def device_share(request: HttpRequest, device_id: str, project_id: str) -> None:
    """Share a device with a project (for those who manage sharing)."""
    usbclient(request).devices.share(device_id, project_id)


def device_unshare(request: HttpRequest, device_id: str, project_id: str) -> None:
    """Stop sharing a device with a project; a server that has the device keeps it."""
    usbclient(request).devices.unshare(device_id, project_id)


def device_forget(request: HttpRequest, device_id: str) -> None:
    """Forget a device that is unplugged for good (for admins)."""
    usbclient(request).devices.delete(device_id)


def device_release(request: HttpRequest, device_id: str) -> None:
    """Let others have a device that is held, or claimed on a host that is down (for admins)."""
    usbclient(request).devices.release(device_id)


def all_events(request: HttpRequest) -> list[dict[str, Any]]:
    """What happened last to all devices, the latest first (for admins)."""
    return usbclient(request).events.list(limit=_EVENTS)


def event_list(request: HttpRequest, device_id: str) -> list[dict[str, Any]]:
    """What happened to a device last, as far as the user may know of it, the latest first."""
    return usbclient(request).devices.events(device_id, limit=_EVENTS)


def attachment_list(request: HttpRequest, server_id: str) -> list[Device]:
    """What a server has or is to have."""
    return [_attached(item) for item in usbclient(request).attachments.list(server_id)]


def attachment_get(request: HttpRequest, server_id: str, device_id: str) -> Device:
    """One device of a server."""
    return _attached(usbclient(request).attachments.get(server_id, device_id))


def usb_ports(request: HttpRequest, server_id: str) -> dict[str, int] | None:
    """How many USB ports a server has, and how many are taken; None if that is not known."""
    return usbclient(request).attachments.ports(server_id)


def attach(request: HttpRequest, server_id: str, device_id: str, transport: str | None = None) -> Device:
    """Ask for a device for a server; returns it as `attachment_list` does.

    :param transport: ``any``: over the network, where it is on another host
    """
    return _attached(usbclient(request).attachments.create(server_id, device_id, transport=transport))


def _attached(attachment: dict[str, Any]) -> Device:
    return Device(attachment["device"])


def change_lease(request: HttpRequest, server_id: str, device_id: str, seconds: int | None) -> None:
    """Let a server have a device for so many seconds from now; None: without an end."""
    usbclient(request).attachments.update(server_id, device_id, seconds)


def join_queue(request: HttpRequest, server_id: str, device_id: str, transport: str | None = None) -> int:
    """Put a server in the queue for a device; its place there.

    :param transport: as for `attach`
    """
    return int(usbclient(request).queue.join(server_id, device_id, transport=transport)["place"])


def kind_list(request: HttpRequest) -> list[str]:
    """The names of the kinds of which the project may have a device."""
    return [str(kind["name"]) for kind in usbclient(request).kinds.list()]


def queue_list(request: HttpRequest) -> list[dict[str, Any]]:
    """The servers that are in a queue: of the project, of all projects for admins."""
    return usbclient(request).queue.list()


def leave_queue(request: HttpRequest, server_id: str, entry_id: str) -> None:
    """Take a server out of the queue."""
    usbclient(request).queue.leave(server_id, entry_id)


def detach(request: HttpRequest, server_id: str, device_id: str) -> None:
    """Give a device of a server back."""
    usbclient(request).attachments.delete(server_id, device_id)


def host_list(request: HttpRequest) -> list[dict[str, Any]]:
    """The hosts with an agent (for admins)."""
    return usbclient(request).hosts.list()


def host_delete(request: HttpRequest, host: str) -> None:
    """Delete a host that is down, with its devices and their claims (for admins)."""
    usbclient(request).hosts.delete(host)
