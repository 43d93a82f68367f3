# SPDX-License-Identifier: Apache-2.0
"""Client of the USB passthrough API, version 1.0.

It needs keystoneauth only, for it has three callers: ``nova``, ``openstack`` and Horizon. Devices,
attachments and hosts are dicts, as the API sends them, but for one thing: every text in them, and in
errors, is made `novaclient_usb.names.printable`.

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

#: Seconds that a wait lasts at most.
TIME_LIMIT = 300.0

# Seconds between two looks at a device: soon at first, for an attach takes a fraction of a second.
_FIRST_PAUSE, _LONGEST_PAUSE, _PAUSE_GROWTH = 0.03, 1.0, 1.1

_IN_PROGRESS = ("attaching", "detaching")


class WaitFailed(exceptions.ClientException):
    """What was waited for did not happen; the message says what did.

    :ivar device: the device as last seen
    """

    def __init__(self, device: dict[str, Any], what: str):
        super().__init__(f"{names.lsusb_line(device)} ({device['id']}) {what}")
        self.device = device


class Waiting(WaitFailed):
    """The device is reserved for the server, and is attached later without another request."""


class TimedOut(WaitFailed):
    """The time is up; the operation continues in the background."""


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
    """Why the service refused (`novaclient_usb.ReasonCode`); None if it was not the service."""
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
    """The client of the service that the catalog names.

    :param interface: ``public`` (the default of keystoneauth), ``internal`` or ``admin``
    :param global_request_id: ``req-`` and a UUID, under which the logs of all services show what is done
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
    """JSON over the adapter, made fit for people's eyes."""

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
                f"The {SERVICE_TYPE} service at {endpoint} does not have version 1 of its API."
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
                f"This cloud has no {SERVICE_TYPE} service: its catalog names no endpoint of that type"
                f" ({self._where()}). Ask its operator."
            )
        return endpoint

    def pages(
        self, nouns: str, *path: str, query: dict[str, Any] | None = None, most: int | None = None
    ) -> list[dict[str, Any]]:
        """All items of a list, from as many pages as the service makes of it.

        :param query: values that are None are left out; ``limit`` is that of one page
        :param most: so many items are enough
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
        f"{url} does not answer as the {SERVICE_TYPE} service does. Is the '{SERVICE_TYPE}' endpoint in the"
        " service catalog right?"
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
    """USB devices of the compute hosts, as far as the caller may see them."""

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
        """All devices that fit every given value, from as many pages as the service makes of them.

        :param server_id: those on the host of this server, and those that the server has
        :param limit: the first devices only, so many
        :param filters: further parameters of the API: ``serial``, ``port``, ``sort_key`` and so on
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
        """What must be true for a device to be attached: ``attachable``, and ``conditions``, met or not.

        :param server_id: to this server
        """
        query = {} if server_id is None else {"server_id": server_id}
        return self._http("GET", "devices", device_id, "explain", params=query)["explanation"]

    def update(self, device_id: str, **changes: Any) -> dict[str, Any]:
        """Change ``shared``, ``kind``, ``description`` or ``enabled``; the device after that (for admins).

        ``shared`` and ``kind`` may be None: as the device's rule says.
        """
        return self._http("PATCH", "devices", device_id, json={"device": changes})["device"]

    def share(self, device_id: str, project_id: str) -> None:
        """Share a device with a project (for those who manage sharing)."""
        self._http("PUT", "devices", device_id, "projects", project_id)

    def unshare(self, device_id: str, project_id: str) -> None:
        """Stop sharing a device with a project; a server that has the device keeps it."""
        self._http("DELETE", "devices", device_id, "projects", project_id)

    def delete(self, device_id: str) -> None:
        """Forget a device that is not plugged in (for admins)."""
        self._http("DELETE", "devices", device_id)

    def release(self, device_id: str) -> dict[str, Any]:
        """End the claim on a device whose host is down (for admins); the device after that."""
        return self._http("POST", "devices", device_id, "release")["device"]

    def events(
        self, device_id: str, since: str | None = None, limit: int | None = None
    ) -> Sequence[dict[str, Any]]:
        """What happened to a device, the latest first.

        :param since: ISO 8601 with a zone, for example ``2026-01-31T12:00:00Z``
        :param limit: the latest events only, so many
        """
        return self._http.pages("events", "devices", device_id, "events", query={"since": since}, most=limit)


class Attachments:
    """Which devices a server has."""

    def __init__(self, http: _Http, devices: Devices):
        self._http = http
        self._devices = devices

    def list(self, server_id: str) -> list[dict[str, Any]]:
        """All attachments of a server: ``server_id``, ``device_id`` and the ``device``."""
        return self._http.pages("attachments", "servers", server_id, "attachments")

    def ports(self, server_id: str) -> dict[str, int] | None:
        """How many USB ports a server has: ``total`` and ``used``; None if its host does not tell."""
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
    ) -> dict[str, Any]:
        """Ask for a device. It is granted when this returns; it is in the server some time later.

        :param device_id: this one; or
        :param kind: one of this kind that is free on the server's host
        :param lease: seconds after which the device is taken back
        """
        body = {"attachment": _given(device_id=device_id, kind=kind, lease=lease)}
        return self._http("POST", "servers", server_id, "attachments", json=body)["attachment"]

    def update(self, server_id: str, device_id: str, lease: int | None) -> dict[str, Any]:
        """Have a server keep a device for so many seconds from now; None: without an end."""
        body = {"attachment": {"lease": lease}}
        path = ("servers", server_id, "attachments", device_id)
        return self._http("PATCH", *path, json=body)["attachment"]

    def delete(self, server_id: str, device_id: str) -> None:
        """Give a device back. It is out of the server some time later."""
        self._http("DELETE", "servers", server_id, "attachments", device_id)

    def wait_attached(
        self,
        server_id: str,
        device_id: str,
        time_limit: float = TIME_LIMIT,
        progress: Callable[[dict[str, Any]], None] = lambda device: None,
    ) -> dict[str, Any]:
        """Wait until the server has the device, after `create`.

        :param time_limit: in seconds
        :param progress: called with the device at each look at it
        :returns: the device, attached
        :raises WaitFailed: it was refused, or was taken away again
        :raises Waiting: it has to wait for something that may be long in coming: the server is off, the
            device is unplugged
        :raises TimedOut: the time is up
        """
        device = self._wait(server_id, device_id, time_limit, progress)
        if device["server_id"] != server_id:
            raise WaitFailed(device, "was taken away from the server while it was being attached.")
        if device["state"] == "waiting":
            raise Waiting(
                device,
                f"is not attached yet: {_reason(device)}. It stays reserved for the server and will be"
                " attached by itself when that is over; detach it to give it up.",
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
        :param progress: called with the device at each look at it
        :raises WaitFailed: the server still has it
        :raises TimedOut: the time is up
        """
        try:
            device = self._wait(server_id, device_id, time_limit, progress)
        except exceptions.NotFound:
            # It was free, and then forgotten, or is no longer for this caller to see.
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
    return (device["state_reason"] or "no reason is known").rstrip(".")


class Queue:
    """Servers that are in line for a device, or for one of a kind."""

    def __init__(self, http: _Http):
        self._http = http

    def list(self, server_id: str | None = None, project_id: str | None = None) -> list[dict[str, Any]]:
        """All places in line of the project's servers, of all servers for admins.

        :param project_id: of this project (for admins)
        """
        return self._http.pages("queue", "queue", query={"server_id": server_id, "project_id": project_id})

    def join(
        self,
        server_id: str,
        device_id: str | None = None,
        kind: str | None = None,
        lease: int | None = None,
    ) -> dict[str, Any]:
        """Put a server in line; the place. When it is the server's turn it has the device.

        :param device_id: for this one; or
        :param kind: for one of this kind that becomes free on the server's host
        :param lease: seconds after which the device is taken back
        """
        body = {"entry": _given(device_id=device_id, kind=kind, lease=lease)}
        return self._http("POST", "servers", server_id, "queue", json=body)["entry"]

    def leave(self, server_id: str, entry_id: str) -> None:
        """Give up a place in line."""
        self._http("DELETE", "servers", server_id, "queue", entry_id)


class Kinds:
    """What devices are interchangeable."""

    def __init__(self, http: _Http):
        self._http = http

    def list(self, server_id: str | None = None) -> list[dict[str, Any]]:
        """All kinds of which the project may have a device: ``name``, ``free`` and ``servers``.

        :param server_id: in ``servers`` tell only of this one
        """
        return self._http.pages("kinds", "kinds", query={"server_id": server_id})


class Events:
    """What happened to all devices, those that are forgotten included."""

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
        """All events that fit every given value, the latest first.

        :param project_id: of the time in which this project had the device
        :param since: ISO 8601 with a zone, for example ``2026-01-31T12:00:00Z``
        :param limit: the latest events only, so many
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
