# SPDX-License-Identifier: Apache-2.0
"""Events: the history of a device."""

from __future__ import annotations

from typing import Any

import webob

from compute_shim.api.call import Call
from compute_shim.api.handlers import devices
from compute_shim.api.visibility import utc
from compute_shim.db import events, models
from compute_shim.policies import devices as device_policies
from compute_shim.policies import events as policies


def index(call: Call, device_id: str) -> webob.Response:
    """What happened to a device, the latest first; a project sees the time in which it had the device."""
    call.authorize(policies.LIST)
    row = devices.find(call, device_id)
    project_id = None if call.may(device_policies.SEE_ALL) else call.project_id
    found = events.of_device(call.service.db, row.id, project_id)
    return webob.Response(json={"events": [_view(event) for event in found]})


def _view(event: models.Event) -> dict[str, Any]:
    return {
        "created_at": utc(event.created_at),
        "cause": event.cause,
        "state": event.state,
        "state_reason": event.state_reason,
        "server_id": event.instance_uuid,
        "project_id": event.project_id,
        "user_id": event.user_id,
        "request_id": event.request_id,
    }
