# SPDX-License-Identifier: Apache-2.0
"""Kinds of interchangeable devices, and the number of free devices of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import webob

from compute_shim import liveness, nova
from compute_shim.api import paging, servers
from compute_shim.api.call import Call
from compute_shim.api.schemas import kinds as schemas
from compute_shim.db import device_list, kinds
from compute_shim.policies import kinds as policies


def index(call: Call) -> webob.Response:
    """The kinds of which the caller's project may use a device, page by page."""
    call.authorize(policies.LIST)
    query = call.query(schemas.LIST)
    # Also for somebody who sees all: what matters is what the project's servers can have.
    own = servers.own(call) if "server_id" not in query else [servers.find(call, query["server_id"])]
    up = liveness.Window.now(call.service.conf)
    free = kinds.free(call.service.db, device_list.Filter(project_id=call.project_id, up=up))
    descending = query.get("sort_dir") == "desc"
    names = sorted(free, reverse=descending)
    if "marker" in query:
        names = [name for name in names if (name < query["marker"] if descending else name > query["marker"])]
    limit = paging.limit(call, query)
    page = names[:limit]
    where = _where(own, {host for name in page for host in free[name]})
    views = [_view(name, free[name], where) for name in page]
    return webob.Response(
        json=paging.answer(call, "kinds", query, views, page[-1] if len(names) > limit else None)
    )


def _where(own: Collection[nova.Server], hosts: Collection[str]) -> dict[str, list[str]]:
    """Host -> ids of the servers that are on it, for these hosts."""
    known = {
        nova.host_id(project_id, host): host
        for project_id in {server.project_id for server in own}
        for host in hosts
    }
    found: dict[str, list[str]] = {}
    for server in own:
        if server.host_id in known:
            found.setdefault(known[server.host_id], []).append(server.id)
    return found


def _view(name: str, free: Mapping[str, int], where: Mapping[str, list[str]]) -> dict[str, Any]:
    """A kind in JSON, with the servers on whose host one is free."""
    found = [
        {"server_id": server_id, "free": count}
        for host, count in sorted(free.items())
        for server_id in where.get(host, ())
    ]
    return {"name": name, "free": sum(free.values()), "servers": found}
