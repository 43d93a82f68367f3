# SPDX-License-Identifier: Apache-2.0
"""Devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import webob

from compute_shim import exception, liveness
from compute_shim.api import devices, paging, servers
from compute_shim.api.call import Call
from compute_shim.api.schemas import devices as schemas
from compute_shim.api.visibility import Viewer
from compute_shim.db import device_list, models, queries, removal
from compute_shim.policies import devices as policies
from novaclient_usb.reason_codes import ReasonCode


def index(call: Call) -> webob.Response:
    """The devices that the caller may see, page by page."""
    call.authorize(policies.LIST)
    query = call.query(schemas.LIST)
    viewer = Viewer.of(call)
    limit = paging.limit(call, query)
    rows = device_list.page(
        call.service.db, _filter(call, viewer, query), _marker(call, viewer, query), limit + 1
    )
    page = rows[:limit]
    marker = page[-1].id if len(rows) > limit else None
    return webob.Response(json=paging.answer(call, "devices", query, _views(call, viewer, page), marker))


def _filter(call: Call, viewer: Viewer, query: dict[str, str]) -> device_list.Filter:
    if "host" in query:
        call.authorize(policies.SEE_ALL)
    server = servers.find(call, query["server_id"]) if "server_id" in query else None
    return device_list.Filter(
        project_id=viewer.scope,
        up=liveness.Window.now(call.service.conf),
        state=query.get("state"),
        host=query.get("host"),
        vendor_id=query["vendor_id"].lower() if "vendor_id" in query else None,
        product_id=query["product_id"].lower() if "product_id" in query else None,
        server_id=server.id if server else None,
        server_host=servers.host(call, server) if server else None,
    )


def _marker(call: Call, viewer: Viewer, query: dict[str, str]) -> models.Device | None:
    if "marker" not in query:
        return None
    row = queries.device(call.service.db, query["marker"].lower())
    if row is None or not viewer.sees(row):
        raise exception.Invalid(f"Invalid input: marker: there is no device {query['marker']}.")
    return row


def show(call: Call, device_id: str) -> webob.Response:
    """One device. Clients ask for it again and again while they wait."""
    call.authorize(policies.SHOW)
    return _answer(call, devices.find(call, device_id))


def update(call: Call, device_id: str) -> webob.Response:
    """Describe a device, or keep it from being attached anew."""
    call.authorize(policies.UPDATE)
    changes = call.body(schemas.UPDATE)["device"]
    row = queries.set_device(call.service.db, devices.find(call, device_id).id, call.actor, **changes)
    if row is None:
        raise devices.no_device(device_id)
    return _answer(call, row)


def delete(call: Call, device_id: str) -> webob.Response:
    """Forget a device that is gone for good."""
    call.authorize(policies.DELETE)
    row = devices.find(call, device_id)
    if not queries.forget(call.service.db, row.id, call.actor):
        raise exception.Conflict(
            f"USB device {row.id} is {'plugged in' if row.present else 'claimed by a server'}. Only one that"
            " is unplugged and free can be forgotten.",
            ReasonCode.DEVICE_PLUGGED_IN if row.present else ReasonCode.DEVICE_CLAIMED,
        )
    return webob.Response(status=204, content_type=None)


def release(call: Call, device_id: str) -> webob.Response:
    """End the claim on a device of a host that is down for good, without its agent."""
    call.authorize(policies.RELEASE)
    row = devices.find(call, device_id)
    up = liveness.Window.now(call.service.conf)
    try:
        released = removal.release(call.service.db, row.id, up, call.actor)
    except removal.HostUp:
        raise exception.Conflict(
            f"The USB agent on the host of USB device {row.id} is up. Detach the device from its server.",
            ReasonCode.HOST_UP,
        ) from None
    except removal.NotClaimed:
        raise exception.Conflict(
            f"USB device {row.id} is not claimed by a server.", ReasonCode.DEVICE_NOT_CLAIMED
        ) from None
    if released is None:
        raise devices.no_device(device_id)
    return _answer(call, released)


def _answer(call: Call, row: models.Device) -> webob.Response:
    return webob.Response(json={"device": _views(call, Viewer.of(call), [row])[0]})


def _views(call: Call, viewer: Viewer, rows: Sequence[models.Device]) -> list[dict[str, Any]]:
    up = liveness.Window.now(call.service.conf)
    live = queries.hosts_up(call.service.db, up, {row.host for row in rows}) if rows else set()
    return [viewer.view(row, row.host in live) for row in rows]
