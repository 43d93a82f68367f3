# SPDX-License-Identifier: Apache-2.0
"""The resources of the USB passthrough API for openstacksdk. ``doc/openapi.yaml`` describes their fields.

Texts are returned exactly as the devices report them: use `novaclient_usb.names.printable` to display them.
"""

from __future__ import annotations

from typing import Any

from keystoneauth1 import adapter
from openstack import exceptions, resource

from novaclient_usb import client

_PAGING = ("sort_key", "sort_dir")


class _Resource(resource.Resource):
    """A noun of the API."""

    _max_microversion = client.API_VERSION


class Device(_Resource):
    """A USB device of a compute host."""

    resource_key = "device"
    resources_key = "devices"
    base_path = "/devices"
    allow_fetch = allow_list = allow_commit = allow_delete = True
    commit_method = "PATCH"
    _query_mapping = resource.QueryParameters(
        "server_id",
        "host",
        "state",
        "vendor_id",
        "product_id",
        "serial",
        "port",
        "kind",
        "transport",
        "project_id",
        *_PAGING,
    )

    available = resource.Body("available", type=bool)
    bus = resource.Body("bus", type=int)
    created_at = resource.Body("created_at")
    description = resource.Body("description")
    device = resource.Body("device", type=int)
    device_class = resource.Body("device_class")
    generation = resource.Body("generation", type=int)
    handover = resource.Body("handover")
    host = resource.Body("host")
    host_id = resource.Body("host_id")
    is_enabled = resource.Body("enabled", type=bool)
    is_shared = resource.Body("shared")
    kind = resource.Body("kind")
    #: Whether servers on other hosts may have it, over the network.
    is_over_network = resource.Body("over_network", type=bool)
    #: Whether it is on another host than the server that the list is about (``server_id``).
    is_on_other_host = resource.Body("other_host", type=bool)
    #: Whether the server that has it is on another host.
    is_used_over_network = resource.Body("used_over_network", type=bool)
    last_project_id = resource.Body("last_project_id")
    lease_until = resource.Body("lease_until")
    port = resource.Body("port")
    product = resource.Body("product")
    product_id = resource.Body("product_id")
    project_id = resource.Body("project_id")
    projects = resource.Body("projects", type=list)
    reason_code = resource.Body("reason_code")
    rule = resource.Body("rule")
    serial = resource.Body("serial")
    server_host = resource.Body("server_host")
    server_id = resource.Body("server_id")
    sharing = resource.Body("sharing")
    speed = resource.Body("speed")
    state = resource.Body("state")
    state_reason = resource.Body("state_reason")
    state_since = resource.Body("state_since")
    updated_at = resource.Body("updated_at")
    vendor = resource.Body("vendor")
    vendor_id = resource.Body("vendor_id")

    def release(self, session: adapter.Adapter) -> Device:
        """Release a held device, or a claim on a host that is down (for admins)."""
        self._translate_response(_checked(session.post(f"{self.base_path}/{self.id}/release")))
        return self

    def share(self, session: adapter.Adapter, project_id: str) -> None:
        """Share the device with a project (for admins)."""
        _checked(session.put(f"{self.base_path}/{self.id}/projects/{project_id}"))

    def unshare(self, session: adapter.Adapter, project_id: str) -> None:
        """Stop sharing the device with a project (for admins)."""
        _checked(session.delete(f"{self.base_path}/{self.id}/projects/{project_id}"))

    def explain(self, session: adapter.Adapter, server_id: str | None = None) -> dict[str, Any]:
        """The conditions for attaching the device: ``attachable`` and ``conditions``."""
        query = {} if server_id is None else {"server_id": server_id}
        answer = _checked(session.get(f"{self.base_path}/{self.id}/explain", params=query))
        return dict(answer.json()["explanation"])


class Attachment(_Resource):
    """A USB device attached to a server, or claimed for it."""

    resource_key = "attachment"
    resources_key = "attachments"
    base_path = "/servers/%(server_id)s/attachments"
    allow_create = allow_fetch = allow_list = allow_commit = allow_delete = True
    commit_method = "PATCH"
    _query_mapping = resource.QueryParameters(*_PAGING)

    device = resource.Body("device", type=Device)
    device_id = resource.Body("device_id", alternate_id=True)
    kind = resource.Body("kind")
    #: Seconds after which the device is detached; None for no end. Only sent in requests.
    lease = resource.Body("lease")
    lease_until = resource.Body("lease_until")
    #: Whether the device is on another host than the server.
    is_over_network = resource.Body("over_network", type=bool)
    server_id = resource.URI("server_id")
    transport = resource.Body("transport")

    @property
    def state(self) -> str | None:
        """The state of the device, for ``wait_for_status(..., attribute="state")``."""
        return None if self.device is None else self.device.state


class QueueEntry(_Resource):
    """A server's entry in the queue for a USB device or a kind."""

    resource_key = "entry"
    resources_key = "queue"
    base_path = "/servers/%(server_id)s/queue"
    allow_create = allow_list = allow_delete = True
    _query_mapping = resource.QueryParameters("server_id", "project_id")

    created_at = resource.Body("created_at")
    device_id = resource.Body("device_id")
    kind = resource.Body("kind")
    lease = resource.Body("lease", type=int)
    place = resource.Body("place", type=int)
    project_id = resource.Body("project_id")
    server_id = resource.URI("server_id")
    transport = resource.Body("transport")


class Kind(_Resource):
    """A kind of interchangeable devices."""

    resources_key = "kinds"
    base_path = "/kinds"
    allow_list = True
    _query_mapping = resource.QueryParameters("server_id", *_PAGING)

    free = resource.Body("free", type=int)
    name = resource.Body("name", alternate_id=True)
    servers = resource.Body("servers", type=list, list_type=dict)


class Event(_Resource):
    """An event in the history of a device."""

    resources_key = "events"
    base_path = "/events"
    allow_list = True
    _query_mapping = resource.QueryParameters("device_id", "server_id", "project_id", "since", *_PAGING)

    actor_project_id = resource.Body("actor_project_id")
    cause = resource.Body("cause")
    cause_code = resource.Body("cause_code")
    created_at = resource.Body("created_at")
    device_id = resource.Body("device_id")
    device_name = resource.Body("device_name")
    host = resource.Body("host")
    project_id = resource.Body("project_id")
    reason_code = resource.Body("reason_code")
    request_id = resource.Body("request_id")
    server_id = resource.Body("server_id")
    state = resource.Body("state")
    state_reason = resource.Body("state_reason")
    user_id = resource.Body("user_id")


class Host(_Resource):
    """A compute host with a USB agent (for admins)."""

    resource_key = "host"
    resources_key = "hosts"
    base_path = "/hosts"
    allow_fetch = allow_list = allow_delete = True
    _query_mapping = resource.QueryParameters(*_PAGING)

    devices = resource.Body("devices", type=dict)
    hypervisor = resource.Body("hypervisor")
    last_seen = resource.Body("last_seen")
    name = resource.Body("host", alternate_id=True)
    problems = resource.Body("problems", type=list)
    state = resource.Body("state")
    version = resource.Body("version")


def _checked(response: Any) -> Any:
    exceptions.raise_from_response(response)
    return response
