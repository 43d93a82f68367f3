# SPDX-License-Identifier: Apache-2.0
"""Devices."""

from __future__ import annotations

from urllib import parse

import sqlalchemy as sa
import webob

from compute_shim import exception
from compute_shim.api import hosts, servers, validation
from compute_shim.api.call import Call
from compute_shim.api.schemas import devices as schemas
from compute_shim.api.visibility import Viewer
from compute_shim.db import models, queries
from compute_shim.policies import devices as policies


def index(call: Call) -> webob.Response:
    """The devices that the caller may see, page by page."""
    call.authorize(policies.LIST)
    query = call.query(schemas.LIST)
    viewer = Viewer.of(call)
    limit = min(int(query.get("limit", call.service.conf.api.max_limit)), call.service.conf.api.max_limit)
    rows = queries.devices(
        call.service.db,
        *_conditions(call, viewer, query),
        marker=_marker(call, viewer, query),
        limit=limit + 1,
    )
    page = rows[:limit]
    live = hosts.live(call.service.conf, call.service.db)
    answer: dict[str, object] = {"devices": [viewer.view(row, live) for row in page]}
    if len(rows) > limit:
        following = parse.urlencode({**query, "marker": page[-1].id})
        answer["devices_links"] = [{"rel": "next", "href": f"{call.request.path_url}?{following}"}]
    return webob.Response(json=answer)


def _conditions(call: Call, viewer: Viewer, query: dict[str, str]) -> list[sa.ColumnElement[bool]]:
    conditions = viewer.seen()
    for name in ("vendor_id", "product_id"):
        if name in query:
            conditions.append(getattr(models.Device, name) == query[name].lower())
    if "state" in query:
        conditions.append(viewer.in_state(query["state"]))
    if "host" in query:
        call.authorize(policies.SEE_ALL)
        conditions.append(models.Device.host == query["host"])
    if "server_id" in query:
        conditions.append(_reachable(call, query["server_id"]))
    return conditions


def _reachable(call: Call, server_id: str) -> sa.ColumnElement[bool]:
    """Devices on a server's host, and those that the server has, wherever they are."""
    server = servers.find(call, server_id)
    claimed = models.Device.instance_uuid == server.id
    host = servers.host(call, server)
    return claimed if host is None else sa.or_(claimed, models.Device.host == host.host)


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
    return _answer(call, find(call, device_id))


def update(call: Call, device_id: str) -> webob.Response:
    """Describe a device, or keep it from being attached anew."""
    call.authorize(policies.UPDATE)
    changes = call.body(schemas.UPDATE)["device"]
    row = queries.set_device(call.service.db, find(call, device_id).id, call.actor, **changes)
    if row is None:
        raise _no_device(device_id)
    return _answer(call, row)


def delete(call: Call, device_id: str) -> webob.Response:
    """Forget a device that is gone for good."""
    call.authorize(policies.DELETE)
    row = find(call, device_id)
    if not queries.forget(call.service.db, row.id):
        raise exception.Conflict(
            f"USB device {row.id} is {'plugged in' if row.present else 'claimed by a server'}. Only one that"
            " is unplugged and free can be forgotten."
        )
    return webob.Response(status=204, content_type=None)


def find(call: Call, device_id: str) -> models.Device:
    """A device that the caller may see.

    :raises compute_shim.exception.NotFound: there is none of that id, or it is not for the caller to see
    """
    known_id = validation.uuid(device_id)
    row = queries.device(call.service.db, known_id) if known_id else None
    if row is None or not Viewer.of(call).sees(row):
        raise _no_device(device_id)
    return row


def _no_device(device_id: str) -> exception.NotFound:
    return exception.NotFound(f"USB device {device_id} could not be found.")


def _answer(call: Call, row: models.Device) -> webob.Response:
    host = queries.host(call.service.db, row.host)
    live = {host.host} if host is not None and hosts.is_up(call.service.conf, host) else set()
    return webob.Response(json={"device": Viewer.of(call).view(row, live)})
