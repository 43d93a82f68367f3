# SPDX-License-Identifier: Apache-2.0
"""Hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import webob

from compute_shim import exception, liveness
from compute_shim.api import paging
from compute_shim.api.call import Call
from compute_shim.api.schemas import base
from compute_shim.api.schemas import hosts as schemas
from compute_shim.api.visibility import utc
from compute_shim.db import host_list, models, queries, removal
from compute_shim.objects import State
from compute_shim.policies import hosts as policies
from novaclient_usb.reason_codes import ReasonCode


def index(call: Call) -> webob.Response:
    """List the hosts with an agent."""
    call.authorize(policies.LIST)
    query = call.query(schemas.LIST)
    limit = paging.limit(call, query)
    order = host_list.Order(query.get("sort_key", "host"), query.get("sort_dir") == "desc")
    rows = host_list.page(call.service.db, order, _marker(call, query), limit + 1)
    marker = rows[limit - 1].host if len(rows) > limit else None
    views = _views(call, rows[:limit])
    return webob.Response(json=paging.answer(call, "hosts", query, views, marker))


def _marker(call: Call, query: Mapping[str, str]) -> models.Host | None:
    if "marker" not in query:
        return None
    row = queries.host(call.service.db, query["marker"])
    if row is None:
        raise exception.Invalid(f"Invalid input: marker: host {query['marker']} could not be found.")
    return row


def show(call: Call, host: str) -> webob.Response:
    """Show a host with an agent."""
    call.authorize(policies.SHOW)
    call.query(base.NOTHING)
    row = queries.host(call.service.db, host)
    if row is None:
        raise _no_host(host)
    return webob.Response(json={"host": _views(call, [row])[0]})


def delete(call: Call, host: str) -> webob.Response:
    """Delete a host that is permanently down, with its devices and their claims."""
    call.authorize(policies.DELETE)
    call.query(base.NOTHING)
    up = liveness.Window.now(call.service.conf)
    try:
        found = removal.delete_host(call.service.db, host, up, call.actor)
    except removal.HostUp:
        raise exception.Conflict(
            f"The USB agent on host {host} is up. Stop it, and wait until the host is down.",
            ReasonCode.HOST_UP,
        ) from None
    if not found:
        raise _no_host(host)
    return webob.Response(status=204, content_type=None)


def _views(call: Call, rows: Sequence[models.Host]) -> list[dict[str, Any]]:
    counts = host_list.count_devices(call.service.db, [row.host for row in rows])
    return [_view(call, row, counts[row.host]) for row in rows]


def _no_host(host: str) -> exception.NotFound:
    return exception.NotFound(f"No USB agent is registered for host {host}.", ReasonCode.HOST_NOT_FOUND)


def _view(call: Call, row: models.Host, counts: dict[str, int]) -> dict[str, Any]:
    return {
        "host": row.host,
        "state": "up" if row.last_seen in liveness.Window.now(call.service.conf) else "down",
        "last_seen": utc(row.last_seen),
        "hypervisor": row.hypervisor,
        "version": row.version,
        "problems": (row.problems or "").splitlines(),
        "devices": {state.value: counts.get(state, 0) for state in State},
    }
