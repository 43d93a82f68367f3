# SPDX-License-Identifier: Apache-2.0
"""The queue: servers that wait for a device or for a kind."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import webob

from compute_shim import exception, nova
from compute_shim.api import devices, leases, paging, servers, transports, validation
from compute_shim.api.call import Call
from compute_shim.api.schemas import base
from compute_shim.api.schemas import queue as schemas
from compute_shim.api.visibility import Viewer, utc
from compute_shim.db import device_list, instances, models, queue
from compute_shim.objects import State
from compute_shim.policies import attachments as attachment_policies
from compute_shim.policies import devices as device_policies
from compute_shim.policies import queue as policies
from novaclient_usb.reason_codes import ReasonCode


def index(call: Call) -> webob.Response:
    """List the queue entries of the caller's project, or of all projects for administrators."""
    call.authorize(policies.LIST)
    query = call.query(schemas.LIST)
    if "project_id" in query:
        call.authorize(device_policies.SEE_ALL)
    own = None if Viewer.of(call).sees_all else call.project_id
    server_id = query.get("server_id")
    return _page(call, query, server_id and server_id.lower(), query.get("project_id", own))


def of_server(call: Call, server_id: str) -> webob.Response:
    """List the queue entries of a server."""
    call.authorize(policies.LIST)
    query = call.query(schemas.OF_SERVER)
    server = servers.find(call, server_id)
    servers.authorize(call, policies.LIST, server)
    return _page(call, query, server.id, None)


def create(call: Call, server_id: str) -> webob.Response:
    """Add a server to the queue. An existing entry keeps its position."""
    call.authorize(policies.JOIN)
    call.query(base.NOTHING)
    wanted = call.body(schemas.JOIN)["entry"]
    validation.one_of_two("entry", wanted)
    server = servers.find_to_change(call, policies.JOIN, server_id)
    entry = _join(call, server, **wanted)
    [found] = queue.waiting(call.service.db, entry_id=entry.entry_id) or [queue.Waiting(entry, 1)]
    return webob.Response(json={"entry": _view(found)}, status=202)


def delete(call: Call, server_id: str, entry_id: str) -> webob.Response:
    """Delete a queue entry, also of a deleted server."""
    call.authorize(policies.LEAVE)
    call.query(base.NOTHING)
    known_id = validation.uuid(entry_id)
    found = [] if known_id is None else queue.waiting(call.service.db, entry_id=known_id)
    for entry in (it.entry for it in found):
        if entry.server_id == server_id.lower() and _may_leave(call, entry):
            queue.leave(call.service.db, entry.server_id, entry.entry_id, call.actor)
            return webob.Response(status=204, content_type=None)
    raise exception.NotFound(
        f"Server {server_id} has no queue entry {entry_id}.", ReasonCode.QUEUE_ENTRY_NOT_FOUND
    )


def _may_leave(call: Call, entry: models.QueueEntry) -> bool:
    whose = {"project_id": entry.project_id, "user_id": entry.user_id}
    if entry.project_id != call.project_id:
        return call.may(attachment_policies.ANY_SERVER, whose)
    call.authorize(policies.LEAVE, whose)
    return True


def _join(
    call: Call,
    server: nova.Server,
    device_id: str | None = None,
    kind: str | None = None,
    lease: int | None = None,
    transport: str = transports.LOCAL,
) -> models.QueueEntry:
    if device_id is not None:
        row = _wanted(call, server, device_id, transport)
        device_id, kind_of_lease = row.id, row.kind
    else:
        devices.refuse_unknown_kind(call, server.project_id, kind or "")
        kind_of_lease = kind
    seconds = leases.seconds(call, kind_of_lease, lease)
    try:
        return queue.join(
            call.service.db,
            server.id,
            server.project_id,
            call.actor,
            device_id,
            kind,
            seconds,
            transports.stored(transport),
        )
    except queue.LineFull:
        raise exception.Conflict(
            f"The project of server {server.id} has {queue.LONGEST} queue entries. Delete one first.",
            ReasonCode.QUEUE_FULL,
        ) from None


def _wanted(call: Call, server: nova.Server, device_id: str, transport: str) -> models.Device:
    """The device that a server wants to queue for."""
    row = devices.find(call, device_id)
    if row.instance_uuid == server.id and row.state != State.DETACHING:
        raise exception.Conflict(
            f"Server {server.id} already has USB device {row.id}.", ReasonCode.DEVICE_TAKEN
        )
    if device_list.find(call.service.db, row.id, server.project_id) is None:
        raise exception.Conflict(
            f"USB device {row.id} is not shared with the project of server {server.id}.",
            ReasonCode.DEVICE_NOT_SHARED,
        )
    host = instances.host_of(call.service.db, server, row.host)
    transports.refuse_unusable(call, server, row, host, transport)
    return row


def _page(
    call: Call, query: Mapping[str, str], server_id: str | None, project_id: str | None
) -> webob.Response:
    limit = paging.limit(call, query)
    marker = query["marker"].lower() if "marker" in query else None
    waiting = functools.partial(queue.waiting, call.service.db, server_id=server_id, project_id=project_id)
    if marker is not None and not waiting(entry_id=marker):
        raise exception.Invalid(f"Invalid input: marker: queue entry {marker} could not be found.")
    found = waiting(marker=marker, limit=limit + 1)
    page = found[:limit]
    following = page[-1].entry.entry_id if len(found) > limit else None
    return webob.Response(json=paging.answer(call, "queue", query, [_view(it) for it in page], following))


def _view(waiting: queue.Waiting) -> dict[str, Any]:
    entry = waiting.entry
    return {
        "id": entry.entry_id,
        "server_id": entry.server_id,
        "project_id": entry.project_id,
        "device_id": entry.device_id,
        "kind": entry.kind,
        "lease": entry.lease,
        "transport": entry.transport or transports.LOCAL,
        "place": waiting.place,
        "created_at": utc(entry.created_at),
    }
