# SPDX-License-Identifier: Apache-2.0
"""Attachments: the devices of a server."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import webob
from oslo_policy import policy

from compute_shim import exception, liveness, nova
from compute_shim.api import devices, leases, paging, servers, transports, validation
from compute_shim.api.call import Call
from compute_shim.api.schemas import attachments as schemas
from compute_shim.api.schemas import base
from compute_shim.api.visibility import Viewer, utc
from compute_shim.db import (
    channels,
    device_leases,
    device_list,
    handover,
    intent,
    models,
    queries,
    queue,
    states,
    usage,
)
from compute_shim.objects import Reason, State
from compute_shim.policies import attachments as policies
from novaclient_usb.reason_codes import USE_XHCI, XHCI_PORTS, ReasonCode, describe


def index(call: Call, server_id: str) -> webob.Response:
    """List the attachments of a server, and its USB ports."""
    call.authorize(policies.LIST)
    query = call.query(schemas.LIST)
    devices.authorize_query(call, query)
    claims = _claims(call, policies.LIST, server_id)
    with call.service.db.reader():
        rows, marker = devices.page(call, query, claims)
        ports = usage.ports(call.service.db, server_id.lower())
        views = _views(call, rows)
    body = paging.answer(call, "attachments", query, views, marker)
    body["usb_ports"] = None if ports is None else {"total": ports[0], "used": ports[1]}
    return webob.Response(json=body)


def show(call: Call, server_id: str, device_id: str) -> webob.Response:
    """Show an attachment of a server."""
    call.authorize(policies.LIST)
    call.query(base.NOTHING)
    claims = _claims(call, policies.LIST, server_id)
    with call.service.db.reader():
        view = _views(call, [_claim_on(call, server_id, device_id, claims)])[0]
    return webob.Response(json={"attachment": view})


def create(call: Call, server_id: str) -> webob.Response:
    """Claim a device for a server; the agent attaches it."""
    call.authorize(policies.CREATE)
    call.query(base.NOTHING)
    wanted = call.body(schemas.CREATE)["attachment"]
    validation.one_of_two("attachment", wanted)
    server = servers.find_to_change(call, policies.CREATE, server_id)
    row = _get(call, server, **wanted)
    call.nudge(row.id)
    row = queries.device(call.service.db, row.id) or row
    if row.instance_uuid != server.id:
        raise exception.Conflict(
            f"USB device {row.id} was released before the attachment completed.", ReasonCode.DEVICE_RELEASED
        )
    return webob.Response(json={"attachment": _views(call, [row])[0]}, status=202)


def update(call: Call, server_id: str, device_id: str) -> webob.Response:
    """Change the lease of an attachment."""
    call.authorize(policies.UPDATE)
    call.query(base.NOTHING)
    lease = call.body(schemas.UPDATE)["attachment"]["lease"]
    row = _claim_on(call, server_id, device_id, _claims(call, policies.UPDATE, server_id))
    _refuse_allocated(row)
    seconds = leases.seconds(call, row.kind, lease)
    if not device_leases.change(call.service.db, row.id, server_id.lower(), seconds, call.actor):
        raise _no_attachment(server_id, device_id)
    row = devices.find(call, device_id)
    return webob.Response(json={"attachment": _views(call, [row])[0]})


def delete(call: Call, server_id: str, device_id: str) -> webob.Response:
    """Release a device; the agent detaches it from the server, as soon as it is up."""
    call.authorize(policies.DELETE)
    call.query(base.NOTHING)
    row = _claim_on(call, server_id, device_id, _claims(call, policies.DELETE, server_id))
    _refuse_allocated(row)
    # It is no error if the claim was already released, by this or another request.
    intent.release(call.service.db, row.id, server_id.lower(), actor=call.actor)
    call.nudge(row.id)
    return webob.Response(status=202, content_type=None)


def _claims(call: Call, rule: policy.DocumentedRuleDefault, server_id: str) -> device_list.Filter:
    """Which devices a server of the caller's has.

    A server that is deleted leaves its claims behind; they are their project's, to see and to give up. One
    that Nova refuses to show is not deleted.

    :param rule: for what the caller wants to do.
    """
    try:
        server = servers.find(call, server_id)
    except nova.Hidden:
        raise
    except exception.NotFound:
        rows = _left_behind(call, rule, validation.uuid(server_id) or "")
        if not rows:
            raise
        claims = _of_server(call, server_id.lower())
        return dataclasses.replace(claims, ids=frozenset(row.id for row in rows))
    servers.authorize(call, rule, server)
    if rule is not policies.LIST:
        servers.refuse_locked(call, server)
    return _of_server(call, server.id)


def _of_server(call: Call, server_id: str) -> device_list.Filter:
    up = liveness.Window.now(call.service.conf)
    return device_list.Filter(project_id=None, up=up, server_id=server_id)


def _claim_on(call: Call, server_id: str, device_id: str, wanted: device_list.Filter) -> models.Device:
    """The claim of a server on one device.

    :raises compute_shim.exception.NotFound: it has none
    """
    known_id = validation.uuid(device_id)
    for row in device_list.page(call.service.db, wanted, device_list.Order()):
        if row.id == known_id:
            return row
    raise _no_attachment(server_id, device_id)


def _no_attachment(server_id: str, device_id: str) -> exception.NotFound:
    return exception.NotFound(
        f"Server {server_id} has no USB device {device_id}.", ReasonCode.ATTACHMENT_NOT_FOUND
    )


def _left_behind(call: Call, rule: policy.DocumentedRuleDefault, server_id: str) -> Sequence[models.Device]:
    """The claims of a server that Nova does not know, as far as the caller may do something with them."""
    rows = queries.devices_of_server(call.service.db, server_id)
    own = [row for row in rows if row.project_id == call.project_id and call.may(rule, servers.target(row))]
    others = [
        row
        for row in rows
        if row.project_id != call.project_id and call.may(policies.ANY_SERVER, servers.target(row))
    ]
    # To a user who sees one project only, the servers of all others look deleted.
    if others and not call.service.nova.sees_all_projects(call.token):
        others = []
    return own + others


def _get(
    call: Call,
    server: nova.Server,
    device_id: str | None = None,
    kind: str | None = None,
    lease: int | None = None,
    transport: str | None = None,
) -> models.Device:
    """Take a device by its id or its kind; asking again for what the server has is no error."""
    if device_id is None:
        return _one_of(call, server, kind or "", lease, transport or transports.LOCAL)
    row = devices.find(call, device_id)
    if row.instance_uuid == server.id:
        _again(call, server, row, transport)
    else:
        _claim(call, server, row, lease, transport)
    return row


def _one_of(call: Call, server: nova.Server, kind: str, lease: int | None, transport: str) -> models.Device:
    """Take a free device of a kind: one of the server's host, else one over the network, where it may be."""
    host = servers.live_host(call, server)
    viewer = Viewer.of(call)
    up = liveness.Window.now(call.service.conf)
    caps = _caps(call, server)
    seconds = leases.seconds(call, kind, lease)
    there = host if transport == transports.LOCAL else None
    free = device_list.Filter(viewer.scope, up, kind=kind, host=there, state=State.AVAILABLE)
    rows = device_list.page(call.service.db, free, device_list.Order())
    obstacles = transports.obstacles(call, rows, host, transport)
    for row in sorted((row for row in rows if row.id not in obstacles), key=lambda row: row.host != host):
        server_host = None if row.host == host else host
        if _take(call, server, row, caps, seconds, kind, transport, server_host):
            return row
    devices.refuse_unknown_kind(call, viewer.scope, kind)
    raise _not_free(server, kind, transport, obstacles.values())


def _not_free(
    server: nova.Server, kind: str, transport: str, obstacles: Iterable[ReasonCode]
) -> exception.Conflict:
    """No device of a kind can be had.

    :param obstacles: why those cannot that are free.
    """
    where = f"on the host of server {server.id}"
    if transport != transports.LOCAL:
        where += " or over the network"
    why = "".join(f" A free one cannot be used: {describe(code)}." for code in sorted(set(obstacles)))
    return exception.Conflict(
        f"No USB device of kind {kind} is free {where}.{why} Wait until one is free, or choose another kind.",
        ReasonCode.KIND_NOT_FREE,
    )


def _claim(
    call: Call, server: nova.Server, row: models.Device, lease: int | None, transport: str | None
) -> None:
    """Take a device that another server may be taking at this moment."""
    way = transport or transports.LOCAL
    host = transports.server_host(call, server, row, way)
    seconds = leases.seconds(call, row.kind, lease)
    if _take(call, server, row, _caps(call, server), seconds, transport=way, server_host=host):
        return
    row = devices.find(call, row.id)
    if row.instance_uuid is None:
        _refuse_unshared(call, server, row)
        _refuse_jump(call, server, row)
        held = row.state == State.AVAILABLE and handover.is_held(row, server.project_id)
        why = Reason(ReasonCode.HELD) if held else states.reason(row)
        text = describe(why.code) if why else "the device was in use; try again"
        raise exception.Conflict(
            f"USB device {row.id} cannot be attached now: {text}.", ReasonCode.DEVICE_UNAVAILABLE
        )
    if row.instance_uuid != server.id:
        by = f" by server {row.instance_uuid}" if row.project_id == call.project_id else ""
        raise exception.Conflict(
            f"USB device {row.id} is in use{by}. Choose another device, or wait until it is free.",
            ReasonCode.DEVICE_TAKEN,
        )
    _again(call, server, row, transport)


def _caps(call: Call, server: nova.Server) -> usage.Caps:
    """How many devices the server and its project may have."""
    most = call.service.conf.api.max_devices_per_server
    return usage.Caps(call.service.keystone.limits(server.project_id), most)


def _take(
    call: Call,
    server: nova.Server,
    row: models.Device,
    caps: usage.Caps,
    lease: int | None,
    kind: str | None = None,
    transport: str = transports.LOCAL,
    server_host: str | None = None,
) -> bool:
    """Claim a device if it is free.

    :param server_host: where the server is, if that is not the device's host.

    :raises compute_shim.exception.OverLimit: the server or its project would have too many
    :raises compute_shim.exception.Conflict: the server has no free USB port
    """
    try:
        return intent.claim(
            call.service.db,
            row.id,
            server.id,
            server.project_id,
            call.actor,
            unshared=Viewer.of(call).sees_all,
            kind=kind,
            caps=caps,
            lease=lease,
            transport=transports.stored(transport),
            server_host=server_host,
        )
    except usage.OverLimit as over:
        raise _over_limit(server, over) from None


def _over_limit(server: nova.Server, over: usage.OverLimit) -> exception.ApiError:
    if over.resource == usage.PORTS:
        more = f", or use a controller with more ports: {USE_XHCI}" if over.limit < XHCI_PORTS else ""
        return exception.Conflict(
            f"Server {server.id} has no free USB port. Detach one of its USB devices{more}.",
            ReasonCode.NO_FREE_USB_PORT,
        )
    amount = f"{over.used} of {over.limit} USB devices"
    if over.resource is None:
        return exception.OverLimit(
            f"Server {server.id} has {amount}. Detach one first.", ReasonCode.TOO_MANY_DEVICES
        )
    return exception.OverLimit(
        f"Quota exceeded for {over.resource}: the project of server {server.id} has {amount}. Detach one"
        " first, or ask your cloud administrator to raise the quota.",
        ReasonCode.QUOTA_EXCEEDED,
    )


def _refuse_unshared(call: Call, server: nova.Server, row: models.Device) -> None:
    """Say so if a free device is not shared with the server's project, which need not be the caller's."""
    seen = device_list.find(call.service.db, row.id, server.project_id) is not None
    if row.state == State.AVAILABLE and not seen:
        raise exception.Conflict(
            f"USB device {row.id} is not shared with the project of server {server.id}.",
            ReasonCode.DEVICE_NOT_SHARED,
        )


def _refuse_jump(call: Call, server: nova.Server, row: models.Device) -> None:
    """Refuse a free device that is reserved for queued servers."""
    if row.state == State.AVAILABLE and queue.is_awaited(call.service.db, row.id, besides=server.id):
        raise exception.Conflict(
            f"USB device {row.id} is reserved for a queued server. Join the queue, or choose another device.",
            ReasonCode.QUEUED_FOR_OTHERS,
        )


def _refuse_allocated(row: models.Device) -> None:
    """Refuse to change a claim that would be made anew at once."""
    if row.allocated and row.state in states.CLAIMED:
        raise exception.Conflict(
            f"USB device {row.id} is part of the flavor of server {row.instance_uuid}. Resize the server to a"
            " flavor without it, or delete the server.",
            ReasonCode.DEVICE_ALLOCATED,
        )


def _again(call: Call, server: nova.Server, row: models.Device, transport: str | None) -> None:
    """The server has the device: try once more what failed, and by the transport that is asked for."""
    if row.state == State.DETACHING:
        raise exception.Conflict(
            f"USB device {row.id} is being detached from server {server.id}. Wait until it is free.",
            ReasonCode.DEVICE_DETACHING,
        )
    if transport is not None and (stored := transports.stored(transport)) != row.claimed_transport:
        _refuse_allocated(row)
        transports.server_host(call, server, row, transport)
        intent.change_transport(call.service.db, row.id, server.id, stored, call.actor)
    intent.retry(call.service.db, row.id, server.id, call.actor)


def _views(call: Call, rows: Sequence[models.Device]) -> list[dict[str, Any]]:
    elsewhere = channels.server_hosts(call.service.db, [row.id for row in rows])
    return [
        {
            "server_id": row.instance_uuid,
            "device_id": row.id,
            "kind": row.claimed_kind,
            "transport": row.claimed_transport or transports.LOCAL,
            "over_network": row.id in elsewhere,
            "lease_until": None if row.lease_until is None else utc(row.lease_until),
            "device": view,
        }
        for row, view in zip(rows, devices.views(call, rows), strict=True)
    ]
