# SPDX-License-Identifier: Apache-2.0
"""Hosts."""

from __future__ import annotations

from typing import Any

import webob

from compute_shim import exception, liveness
from compute_shim.api.call import Call
from compute_shim.api.schemas import base
from compute_shim.api.visibility import utc
from compute_shim.db import models, queries
from compute_shim.objects import State
from compute_shim.policies import hosts as policies
from novaclient_usb.reason_codes import ReasonCode


def index(call: Call) -> webob.Response:
    """All hosts with an agent."""
    call.authorize(policies.LIST)
    call.query(base.NOTHING)
    counts = queries.count_devices(call.service.db)
    rows = queries.hosts(call.service.db)
    return webob.Response(json={"hosts": [_view(call, row, counts.get(row.host, {})) for row in rows]})


def show(call: Call, host: str) -> webob.Response:
    """One host with an agent."""
    call.authorize(policies.SHOW)
    call.query(base.NOTHING)
    row = queries.host(call.service.db, host)
    if row is None:
        raise exception.NotFound(f"No USB agent is registered for host {host}.", ReasonCode.HOST_NOT_FOUND)
    counts = queries.count_devices(call.service.db)
    return webob.Response(json={"host": _view(call, row, counts.get(host, {}))})


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
