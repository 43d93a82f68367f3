# SPDX-License-Identifier: Apache-2.0
"""The calls of the USB passthrough API in openstacksdk's manner.

Where a device, a server or a host is asked for, an object of openstacksdk or an id will do. All calls raise
what openstacksdk raises (``openstack.exceptions``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from openstack import proxy, resource

from novaclient_usb import client
from novaclient_usb.sdk.resources import Attachment, Device, Event, Host, Kind, QueueEntry


class Proxy(proxy.Proxy):
    """``conn.usb_passthrough``"""

    api_version = "1"

    def devices(self, **query: Any) -> Iterator[Device]:
        """The USB devices that one may see.

        :param query: ``server_id``, ``host``, ``state``, ``kind`` and so on: only devices that fit
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
        """Forget a device that is no longer plugged in (for admins)."""
        self._delete(Device, device, ignore_missing=ignore_missing)

    def release_device(self, device: str | Device) -> Device:
        """Let others have a device that is held, or claimed on a host that is down (for admins)."""
        return self._get_resource(Device, device).release(self)

    def share_device(self, device: str | Device, project: Any) -> None:
        """Share a device with a project (for admins)."""
        self._get_resource(Device, device).share(self, resource.Resource._get_id(project))

    def unshare_device(self, device: str | Device, project: Any) -> None:
        """Stop sharing a device with a project; a server that has the device keeps it (for admins)."""
        self._get_resource(Device, device).unshare(self, resource.Resource._get_id(project))

    def explain_device(self, device: str | Device, server: Any = None) -> dict[str, Any]:
        """What must be true for a device to be attached, and what is not met.

        :param server: to this one
        """
        server_id = None if server is None else resource.Resource._get_id(server)
        return self._get_resource(Device, device).explain(self, server_id)

    def device_events(self, device: str | Device, **query: Any) -> Iterator[Event]:
        """What happened to a device, the latest first."""
        path = f"/devices/{resource.Resource._get_id(device)}/events"
        return self._list(Event, base_path=path, **query)

    def events(self, **query: Any) -> Iterator[Event]:
        """What happened to all devices, the latest first.

        :param query: ``device_id``, ``server_id``, ``project_id``, ``since``: only events that fit
        """
        return self._list(Event, **query)

    def attachments(self, server: Any) -> Iterator[Attachment]:
        """The devices that a server has."""
        return self._list(Attachment, server_id=resource.Resource._get_id(server))

    def get_attachment(self, server: Any, device: str | Device | Attachment) -> Attachment:
        """One device that a server has."""
        return self._get(Attachment, **_of(server, device))

    def create_attachment(
        self,
        server: Any,
        device: str | Device | None = None,
        kind: str | None = None,
        lease: int | None = None,
    ) -> Attachment:
        """Ask for a device. It is granted when this returns; it is in the server some time later.

        :param device: this one; or
        :param kind: one of this kind that is free on the server's host
        :param lease: seconds after which the device is taken back
        """
        return self._create(Attachment, **_wanted(server, device, kind, lease))

    def update_attachment(
        self, server: Any, device: str | Device | Attachment, lease: int | None
    ) -> Attachment:
        """Have a server keep a device for so many seconds from now; None: without an end."""
        return self._update(Attachment, Attachment.existing(**_of(server, device)), lease=lease)

    def delete_attachment(
        self, server: Any, device: str | Device | Attachment, ignore_missing: bool = True
    ) -> None:
        """Give a device back. It is out of the server some time later."""
        self._delete(Attachment, None, ignore_missing=ignore_missing, **_of(server, device))

    def wait_for_attachment(
        self, attachment: Attachment, interval: float = 0.5, wait: float = client.TIME_LIMIT
    ) -> Attachment:
        """Wait until the device is in the server.

        :raises openstack.exceptions.ResourceFailure: it was refused, or has to wait for something that may
            be long in coming: the server is off, the device is unplugged
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
        """Wait until a device is forgotten or detached (``openstack.resource.wait_for_delete``)."""
        return resource.wait_for_delete(self, res, interval, wait, callback)

    def queue(self, **query: Any) -> Iterator[QueueEntry]:
        """The places in line of the project's servers; of all servers for admins."""
        return self._list(QueueEntry, base_path="/queue", **query)

    def join_queue(
        self,
        server: Any,
        device: str | Device | None = None,
        kind: str | None = None,
        lease: int | None = None,
    ) -> QueueEntry:
        """Put a server in line for a device, or for one of a kind."""
        return self._create(QueueEntry, **_wanted(server, device, kind, lease))

    def leave_queue(self, entry: QueueEntry, ignore_missing: bool = True) -> None:
        """Give up a place in line."""
        self._delete(QueueEntry, entry, ignore_missing=ignore_missing)

    def kinds(self, **query: Any) -> Iterator[Kind]:
        """What devices are interchangeable, and how many of each are free."""
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


def _wanted(server: Any, device: str | Device | None, kind: str | None, lease: int | None) -> dict[str, Any]:
    wanted = {
        "server_id": resource.Resource._get_id(server),
        "device_id": None if device is None else resource.Resource._get_id(device),
        "kind": kind,
        "lease": lease,
    }
    return {key: value for key, value in wanted.items() if value is not None}
