# SPDX-License-Identifier: Apache-2.0
"""The calls of the USB passthrough API in openstacksdk's manner.

Parameters for devices, servers and hosts accept openstacksdk objects or IDs. All calls raise openstacksdk
exceptions (``openstack.exceptions``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from openstack import proxy, resource

from novaclient_usb import client
from novaclient_usb.sdk.resources import Attachment, Device, Event, Host, Kind, QueueEntry


class Proxy(proxy.Proxy):
    """``conn.usb_passthrough``."""

    api_version = "1"

    def devices(self, **query: Any) -> Iterator[Device]:
        """The USB devices that the caller may see.

        :param query: filters: ``server_id``, ``host``, ``state``, ``kind`` and so on; with ``server_id``,
            ``transport`` ``network`` or ``any`` for devices of other hosts as well
        """
        return self._list(Device, **query)

    def get_device(self, device: str | Device) -> Device:
        """One device."""
        return self._get(Device, device)

    def find_device(self, name_or_id: str, ignore_missing: bool = True, **query: Any) -> Device | None:
        """The device of this name or id."""
        return self._find(Device, name_or_id, ignore_missing=ignore_missing, **query)

    def update_device(self, device: str | Device, **attrs: Any) -> Device:
        """Change ``is_shared``, ``kind``, ``description`` or ``is_enabled`` (for admins)."""
        return self._update(Device, device, **attrs)

    def delete_device(self, device: str | Device, ignore_missing: bool = True) -> None:
        """Delete a device that is no longer plugged in (for admins)."""
        self._delete(Device, device, ignore_missing=ignore_missing)

    def release_device(self, device: str | Device) -> Device:
        """Release a held device, or a claim on a host that is down (for admins)."""
        return self._get_resource(Device, device).release(self)

    def share_device(self, device: str | Device, project: Any) -> None:
        """Share a device with a project (for admins)."""
        self._get_resource(Device, device).share(self, resource.Resource._get_id(project))

    def unshare_device(self, device: str | Device, project: Any) -> None:
        """Stop sharing a device with a project; an existing attachment is kept (for admins)."""
        self._get_resource(Device, device).unshare(self, resource.Resource._get_id(project))

    def explain_device(self, device: str | Device, server: Any = None) -> dict[str, Any]:
        """The conditions for attaching a device, met and unmet.

        :param server: the server to attach it to
        """
        server_id = None if server is None else resource.Resource._get_id(server)
        return self._get_resource(Device, device).explain(self, server_id)

    def device_events(self, device: str | Device, **query: Any) -> Iterator[Event]:
        """The history of a device, latest first."""
        path = f"/devices/{resource.Resource._get_id(device)}/events"
        return self._list(Event, base_path=path, **query)

    def events(self, **query: Any) -> Iterator[Event]:
        """The history of all devices, latest first.

        :param query: filters: ``device_id``, ``server_id``, ``project_id``, ``since``
        """
        return self._list(Event, **query)

    def attachments(self, server: Any) -> Iterator[Attachment]:
        """The attachments of a server."""
        return self._list(Attachment, server_id=resource.Resource._get_id(server))

    def get_attachment(self, server: Any, device: str | Device | Attachment) -> Attachment:
        """One attachment of a server."""
        return self._get(Attachment, **_of(server, device))

    def create_attachment(
        self,
        server: Any,
        device: str | Device | None = None,
        kind: str | None = None,
        lease: int | None = None,
        transport: str | None = None,
    ) -> Attachment:
        """Request a device. It is claimed on return, and attached asynchronously.

        :param device: the device; or
        :param kind: the kind of a free device
        :param lease: seconds after which the device is detached
        :param transport: ``network`` or ``any``: also a device of another host, over the network; a device of
            a kind is one of the server's host, if one is free there
        """
        return self._create(Attachment, **_wanted(server, device, kind, lease, transport))

    def update_attachment(
        self, server: Any, device: str | Device | Attachment, lease: int | None
    ) -> Attachment:
        """Set the lease to end this many seconds from now; None: no end."""
        return self._update(Attachment, Attachment.existing(**_of(server, device)), lease=lease)

    def delete_attachment(
        self, server: Any, device: str | Device | Attachment, ignore_missing: bool = True
    ) -> None:
        """Request a detach. The device is detached asynchronously."""
        self._delete(Attachment, None, ignore_missing=ignore_missing, **_of(server, device))

    def wait_for_attachment(
        self, attachment: Attachment, interval: float = 0.5, wait: float = client.TIME_LIMIT
    ) -> Attachment:
        """Wait until the device is attached.

        :raises openstack.exceptions.ResourceFailure: the attach failed, or the device waits for a condition
            that can take long: the server is off, the device is unplugged
        :raises openstack.exceptions.ResourceTimeout: `wait` seconds have passed
        """
        failures = ["failed", "waiting", "detaching"]
        return self.wait_for_status(attachment, "attached", failures, interval, wait)

    def wait_for_status(
        self,
        res: Any,
        status: str,
        failures: list[str] | None = None,
        interval: float | None = 2,
        wait: float | None = None,
        attribute: str = "state",
        callback: Callable[[int], None] | None = None,
    ) -> Any:
        """Wait until a device or an attachment is in a state (``openstack.resource.wait_for_status``)."""
        return resource.wait_for_status(self, res, status, failures, interval, wait, attribute, callback)

    def wait_for_delete(
        self,
        res: Any,
        interval: float = 2,
        wait: float = client.TIME_LIMIT,
        callback: Callable[[int], None] | None = None,
    ) -> Any:
        """Wait until a device is deleted or detached (``openstack.resource.wait_for_delete``)."""
        return resource.wait_for_delete(self, res, interval, wait, callback)

    def queue(self, **query: Any) -> Iterator[QueueEntry]:
        """The queue entries of the project's servers, or of all servers for admins."""
        return self._list(QueueEntry, base_path="/queue", **query)

    def join_queue(
        self,
        server: Any,
        device: str | Device | None = None,
        kind: str | None = None,
        lease: int | None = None,
        transport: str | None = None,
    ) -> QueueEntry:
        """Add a server to the queue for a device or a kind; parameters as in `create_attachment`."""
        return self._create(QueueEntry, **_wanted(server, device, kind, lease, transport))

    def leave_queue(self, entry: QueueEntry, ignore_missing: bool = True) -> None:
        """Delete a queue entry."""
        self._delete(QueueEntry, entry, ignore_missing=ignore_missing)

    def kinds(self, **query: Any) -> Iterator[Kind]:
        """The kinds of interchangeable devices, and the number of free devices of each."""
        return self._list(Kind, **query)

    def hosts(self) -> Iterator[Host]:
        """The compute hosts with a USB agent (for admins)."""
        return self._list(Host)

    def get_host(self, host: str | Host) -> Host:
        """One compute host with a USB agent (for admins)."""
        return self._get(Host, host)

    def delete_host(self, host: str | Host, ignore_missing: bool = True) -> None:
        """Delete a host that is down, with its devices and their claims (for admins)."""
        self._delete(Host, host, ignore_missing=ignore_missing)


def _of(server: Any, device: str | Device | Attachment) -> dict[str, str]:
    return {
        "server_id": resource.Resource._get_id(server),
        "device_id": resource.Resource._get_id(device),
    }


def _wanted(
    server: Any, device: str | Device | None, kind: str | None, lease: int | None, transport: str | None
) -> dict[str, Any]:
    wanted = {
        "server_id": resource.Resource._get_id(server),
        "device_id": None if device is None else resource.Resource._get_id(device),
        "kind": kind,
        "lease": lease,
        "transport": transport,
    }
    return {key: value for key, value in wanted.items() if value is not None}
