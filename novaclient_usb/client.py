# SPDX-License-Identifier: Apache-2.0
"""Client of the USB passthrough API, version 1.0.

It depends on keystoneauth only, because ``nova``, ``openstack`` and Horizon share it. Devices, attachments
and hosts are dicts as returned by the API, except that all texts in them, and in errors, are made
`novaclient_usb.names.printable`.

Every call raises `keystoneauth1.exceptions.HttpError` when the service refuses,
`keystoneauth1.exceptions.EndpointNotFound` when the catalog lacks the service, and
`keystoneauth1.exceptions.ConnectFailure` when it cannot be reached.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib import parse

from keystoneauth1 import adapter as ks_adapter
from keystoneauth1 import discover, exceptions, plugin
from keystoneauth1 import session as ks_session

from novaclient_usb import names

SERVICE_TYPE = "usb-passthrough"
API_VERSION = "1.0"

#: Default time limit of a wait, in seconds.
TIME_LIMIT = 300.0

# Seconds between two looks at a device: soon at first, for an attach takes a fraction of a second.
_FIRST_PAUSE, _LONGEST_PAUSE, _PAUSE_GROWTH = 0.03, 1.0, 1.1

_IN_PROGRESS = ("attaching", "detaching")


class WaitFailed(exceptions.ClientException):
    """The operation did not complete as requested; the message gives the result.

    :ivar device: the device as last seen
    """

    def __init__(self, device: dict[str, Any], what: str):
        super().__init__(f"{names.lsusb_line(device)} ({device['id']}) {what}")
        self.device = device


class Waiting(WaitFailed):
    """The device is reserved for the server and will be attached automatically."""


class TimedOut(WaitFailed):
    """The wait timed out; the operation continues in the background."""


class Client:
    """The whole API: ``devices``, ``attachments``, ``queue``, ``kinds``, ``events`` and ``hosts``."""

    def __init__(self, adapter: ks_adapter.Adapter):
        http = _Http(adapter)
        self.devices = Devices(http)
        self.attachments = Attachments(http, self.devices)
        self.queue = Queue(http)
        self.kinds = Kinds(http)
        self.events = Events(http)
        self.hosts = Hosts(http)


def reason_code(error: exceptions.HttpError) -> str | None:
    """The `novaclient_usb.ReasonCode` of an error; None if it is not from the service."""
    try:
        return str(error.response.json()["error"]["reason_code"])
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def from_session(
    session: ks_session.Session,
    auth: plugin.BaseAuthPlugin | None = None,
    interface: str | None = None,
    region_name: str | None = None,
    global_request_id: str | None = None,
    endpoint_override: str | None = None,
    version: str = API_VERSION,
) -> Client:
    """A client for the service in the catalog.

    :param interface: ``public`` (the default of keystoneauth), ``internal`` or ``admin``
    :param global_request_id: ``req-`` and a UUID, logged by all services with the request
    :param endpoint_override: the address of the service, instead of the catalog's
    :param version: of the API, which the service is asked for
    """
    return Client(
        ks_adapter.Adapter(
            session,
            auth=auth,
            service_type=SERVICE_TYPE,
            interface=interface,
            region_name=region_name,
            default_microversion=version,
            global_request_id=global_request_id,
            endpoint_override=endpoint_override,
        )
    )


class _Http:
    """JSON over the adapter, with all texts made printable."""

    def __init__(self, adapter: ks_adapter.Adapter):
        self._adapter = adapter
        self._base: str | None = None

    def __call__(self, method: str, *path: str, **kwargs: Any) -> Any:
        url = "/".join(parse.quote(part, safe="") for part in path)
        headers = {"Accept": "application/json"}
        try:
            base = self._base = self._base or self._discover()
            response = self._adapter.request(url, method, endpoint_override=base, headers=headers, **kwargs)
        except exceptions.HttpError as error:
            error.message = names.printable(error.message)
            error.args = (error.message,)
            raise
        if not response.content:
            return None
        try:
            return _printable(response.json())
        except ValueError as error:
            raise _not_ours(response.url) from error

    def _discover(self) -> str:
        """Where version 1 of the service is.

        Not left to the adapter, which does not look for versions at an ``endpoint_override``, nor with the
        plugin that Horizon's tokens need (`keystoneauth1.token_endpoint`).
        """
        endpoint = self._endpoint()
        if parse.urlsplit(endpoint).path.rstrip("/").endswith("/v1"):
            return endpoint
        try:
            document = discover.get_discovery(self._adapter.session, endpoint, authenticated=False)
        except exceptions.DiscoveryFailure as error:
            raise _not_ours(endpoint) from error
        base = document.versioned_url_for("1", "1.latest")
        if base is None:
            raise exceptions.DiscoveryFailure(
                f"The {SERVICE_TYPE} service at {endpoint} does not support version 1 of the API."
            )
        return base

    def _endpoint(self) -> str:
        """The address of the service, with a version or without."""
        try:
            endpoint = self._adapter.get_endpoint()
        except exceptions.EndpointNotFound:
            endpoint = None
        if endpoint is None:
            raise exceptions.EndpointNotFound(
                f"The service catalog has no {SERVICE_TYPE} endpoint ({self._where()}). Contact your cloud"
                " administrator."
            )
        return endpoint

    def pages(
        self, nouns: str, *path: str, query: dict[str, Any] | None = None, most: int | None = None
    ) -> list[dict[str, Any]]:
        """All items of a list, from all its pages.

        :param query: values that are None are omitted; ``limit`` is the page size
        :param most: maximum number of items
        """
        query = _given(**{"limit": most, **(query or {})})
        items = []
        while True:
            page = self("GET", *path, params=query)
            items += page[nouns]
            following = [link["href"] for link in page.get(f"{nouns}_links", ()) if link["rel"] == "next"]
            if not following or (most is not None and len(items) >= most):
                return items[:most]
            # Only the query of the link is taken: its address may be one that is not reachable from here.
            query = dict(parse.parse_qsl(parse.urlsplit(following[0]).query))

    def _where(self) -> str:
        region = f"region {self._adapter.region_name}" if self._adapter.region_name else "any region"
        return f"interface {self._adapter.interface or 'public'}, {region}"


def _not_ours(url: str) -> exceptions.ClientException:
    return exceptions.ClientException(
        f"The response from {url} is not from a {SERVICE_TYPE} service. Check the '{SERVICE_TYPE}' endpoint"
        " in the service catalog."
    )


def _given(**values: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {key: value for key, value in values.items() if value is not None}


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return names.printable(value)
    if isinstance(value, dict):
        return {key: _printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return value


class Devices:
    """USB devices of the compute hosts that the caller may see."""

    def __init__(self, http: _Http):
        self._http = http

    def list(
        self,
        server_id: str | None = None,
        host: str | None = None,
        state: str | None = None,
        vendor_id: str | None = None,
        product_id: str | None = None,
        limit: int | None = None,
        **filters: str | None,
    ) -> list[dict[str, Any]]:
        """All devices that match all given filters, from all pages.

        :param server_id: devices on the host of this server, and devices attached to it
        :param limit: maximum number of devices
        :param filters: further parameters of the API: ``serial``, ``port``, ``sort_key`` and so on; with
            ``server_id``, ``transport`` ``network`` or ``any`` for devices of other hosts as well
        """
        wanted = {
            "server_id": server_id,
            "host": host,
            "state": state,
            "vendor_id": vendor_id,
            "product_id": product_id,
            **filters,
        }
        return self._http.pages("devices", "devices", query=wanted, most=limit)

    def get(self, device_id: str) -> dict[str, Any]:
        """One device."""
        return self._http("GET", "devices", device_id)["device"]

    def explain(self, device_id: str, server_id: str | None = None) -> dict[str, Any]:
        """The conditions for attaching a device: ``attachable``, and ``conditions``, met or not.

        :param server_id: the server to attach it to
        """
        query = {} if server_id is None else {"server_id": server_id}
        return self._http("GET", "devices", device_id, "explain", params=query)["explanation"]

    def update(self, device_id: str, **changes: Any) -> dict[str, Any]:
        """Change ``shared``, ``kind``, ``description`` or ``enabled`` (for admins); returns the device.

        None for ``shared`` or ``kind`` restores the value of the device's rule.
        """
        return self._http("PATCH", "devices", device_id, json={"device": changes})["device"]

    def share(self, device_id: str, project_id: str) -> None:
        """Share a device with a project (for those who manage sharing)."""
        self._http("PUT", "devices", device_id, "projects", project_id)

    def unshare(self, device_id: str, project_id: str) -> None:
        """Stop sharing a device with a project; an existing attachment is kept."""
        self._http("DELETE", "devices", device_id, "projects", project_id)

    def delete(self, device_id: str) -> None:
        """Delete a device that is not plugged in (for admins)."""
        self._http("DELETE", "devices", device_id)

    def release(self, device_id: str) -> dict[str, Any]:
        """Release a held device, or a claim on a host that is down (for admins); returns the device."""
        return self._http("POST", "devices", device_id, "release")["device"]

    def events(
        self, device_id: str, since: str | None = None, limit: int | None = None
    ) -> Sequence[dict[str, Any]]:
        """The history of a device, latest first.

        :param since: ISO 8601 with a time zone, for example ``2026-01-31T12:00:00Z``
        :param limit: maximum number of events
        """
        return self._http.pages("events", "devices", device_id, "events", query={"since": since}, most=limit)


class Attachments:
    """The devices of a server."""

    def __init__(self, http: _Http, devices: Devices):
        self._http = http
        self._devices = devices

    def list(self, server_id: str) -> list[dict[str, Any]]:
        """All attachments of a server: ``server_id``, ``device_id`` and the ``device``."""
        return self._http.pages("attachments", "servers", server_id, "attachments")

    def ports(self, server_id: str) -> dict[str, int] | None:
        """The number of USB ports of a server: ``total`` and ``used``; None if it is unknown."""
        return self._http("GET", "servers", server_id, "attachments", params={"limit": 1})["usb_ports"]

    def get(self, server_id: str, device_id: str) -> dict[str, Any]:
        """One attachment of a server."""
        return self._http("GET", "servers", server_id, "attachments", device_id)["attachment"]

    def create(
        self,
        server_id: str,
        device_id: str | None = None,
        kind: str | None = None,
        lease: int | None = None,
        transport: str | None = None,
    ) -> dict[str, Any]:
        """Request a device. It is claimed on return, and attached asynchronously.

        :param device_id: the device; or
        :param kind: the kind of a free device
        :param lease: seconds after which the device is detached
        :param transport: ``network`` or ``any``: also a device of another host, over the network; a device of
            a kind is one of the server's host, if one is free there
        """
        given = _given(device_id=device_id, kind=kind, lease=lease, transport=transport)
        body = {"attachment": given}
        return self._http("POST", "servers", server_id, "attachments", json=body)["attachment"]

    def update(self, server_id: str, device_id: str, lease: int | None) -> dict[str, Any]:
        """Set the lease to end this many seconds from now; None: no end."""
        body = {"attachment": {"lease": lease}}
        path = ("servers", server_id, "attachments", device_id)
        return self._http("PATCH", *path, json=body)["attachment"]

    def delete(self, server_id: str, device_id: str) -> None:
        """Request a detach. The device is detached asynchronously."""
        self._http("DELETE", "servers", server_id, "attachments", device_id)

    def wait_attached(
        self,
        server_id: str,
        device_id: str,
        time_limit: float = TIME_LIMIT,
        progress: Callable[[dict[str, Any]], None] = lambda device: None,
    ) -> dict[str, Any]:
        """Wait until the device is attached, after `create`.

        :param time_limit: in seconds
        :param progress: called with the device at each poll
        :returns: the device, attached
        :raises WaitFailed: the attach failed, or the device was detached
        :raises Waiting: the device is reserved and waits for a condition that can take long: the server is
            off, the device is unplugged
        :raises TimedOut: the time limit has passed
        """
        device = self._wait(server_id, device_id, time_limit, progress)
        if device["server_id"] != server_id:
            raise WaitFailed(device, "was detached from the server before the attach completed.")
        if device["state"] == "waiting":
            raise Waiting(
                device,
                f"is not attached yet: {_reason(device)}. It is reserved for the server and will be attached"
                " automatically. To cancel this, detach it.",
            )
        if device["state"] != "attached":
            raise WaitFailed(
                device, f"could not be attached, its state is {device['state']}: {_reason(device)}."
            )
        return device

    def wait_detached(
        self,
        server_id: str,
        device_id: str,
        time_limit: float = TIME_LIMIT,
        progress: Callable[[dict[str, Any]], None] = lambda device: None,
    ) -> None:
        """Wait until the server no longer has the device, after `delete`.

        :param time_limit: in seconds
        :param progress: called with the device at each poll
        :raises WaitFailed: the server still has it
        :raises TimedOut: the time limit has passed
        """
        try:
            device = self._wait(server_id, device_id, time_limit, progress)
        except exceptions.NotFound:
            # It was deleted, or the caller may no longer see it.
            return
        if device["server_id"] == server_id:
            raise WaitFailed(device, f"was not detached, its state is {device['state']}: {_reason(device)}.")

    def _wait(
        self,
        server_id: str,
        device_id: str,
        time_limit: float,
        progress: Callable[[dict[str, Any]], None],
    ) -> dict[str, Any]:
        """The device, once the server has lost it or nothing is in progress."""
        deadline = time.monotonic() + time_limit
        pause = _FIRST_PAUSE
        while True:
            device = self._devices.get(device_id)
            progress(device)
            if device["server_id"] != server_id or device["state"] not in _IN_PROGRESS:
                return device
            if time.monotonic() + pause > deadline:
                raise TimedOut(
                    device,
                    f"is still {device['state']} after {time_limit:g} seconds. The operation continues in the"
                    " background.",
                )
            time.sleep(pause)
            pause = min(pause * _PAUSE_GROWTH, _LONGEST_PAUSE)


def _reason(device: dict[str, Any]) -> str:
    return (device["state_reason"] or "unknown reason").rstrip(".")


class Queue:
    """Servers that wait for a device or for a kind."""

    def __init__(self, http: _Http):
        self._http = http

    def list(self, server_id: str | None = None, project_id: str | None = None) -> list[dict[str, Any]]:
        """All queue entries of the project's servers, or of all servers for admins.

        :param project_id: only entries of this project (for admins)
        """
        return self._http.pages("queue", "queue", query={"server_id": server_id, "project_id": project_id})

    def join(
        self,
        server_id: str,
        device_id: str | None = None,
        kind: str | None = None,
        lease: int | None = None,
        transport: str | None = None,
    ) -> dict[str, Any]:
        """Add a server to the queue; returns the entry. The device is attached when it becomes free.

        :param device_id: the device; or
        :param kind: the kind of a device
        :param lease: seconds after which the device is detached
        :param transport: as in `Attachments.create`
        """
        body = {"entry": _given(device_id=device_id, kind=kind, lease=lease, transport=transport)}
        return self._http("POST", "servers", server_id, "queue", json=body)["entry"]

    def leave(self, server_id: str, entry_id: str) -> None:
        """Delete a queue entry."""
        self._http("DELETE", "servers", server_id, "queue", entry_id)


class Kinds:
    """Kinds of interchangeable devices."""

    def __init__(self, http: _Http):
        self._http = http

    def list(self, server_id: str | None = None) -> list[dict[str, Any]]:
        """All kinds that the project can use: ``name``, ``free`` and ``servers``.

        :param server_id: list only this server in ``servers``
        """
        return self._http.pages("kinds", "kinds", query={"server_id": server_id})


class Events:
    """The history of all devices, including deleted ones."""

    def __init__(self, http: _Http):
        self._http = http

    def list(
        self,
        device_id: str | None = None,
        server_id: str | None = None,
        project_id: str | None = None,
        since: str | None = None,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """All events that match all given filters, latest first.

        :param project_id: events from the period in which this project held the device
        :param since: ISO 8601 with a time zone, for example ``2026-01-31T12:00:00Z``
        :param limit: maximum number of events
        """
        query = {
            "device_id": device_id,
            "server_id": server_id,
            "project_id": project_id,
            "since": since,
        }
        return self._http.pages("events", "events", query=query, most=limit)


class Hosts:
    """Compute hosts with an agent (for admins)."""

    def __init__(self, http: _Http):
        self._http = http

    def list(self) -> list[dict[str, Any]]:
        """All of them."""
        return self._http.pages("hosts", "hosts")

    def get(self, host: str) -> dict[str, Any]:
        """One, by its name."""
        return self._http("GET", "hosts", host)["host"]

    def delete(self, host: str) -> None:
        """Delete one that is down, with its devices and their claims."""
        self._http("DELETE", "hosts", host)
