# SPDX-License-Identifier: Apache-2.0
"""Events: the history of a device."""

from __future__ import annotations

from typing import Any

import webob

from compute_shim import legacy_reasons
from compute_shim.api import devices
from compute_shim.api.call import Call
from compute_shim.api.schemas import base
from compute_shim.api.visibility import Viewer, utc
from compute_shim.db import events, models
from compute_shim.policies import events as policies
from novaclient_usb.reason_codes import describe


def index(call: Call, device_id: str) -> webob.Response:
    """What happened to a device, the latest first; a project sees the time in which it had the device."""
    call.authorize(policies.LIST)
    call.query(base.NOTHING)
    row = devices.find(call, device_id)
    viewer = Viewer.of(call)
    found = events.of_device(call.service.db, row.id, viewer.scope)
    return webob.Response(json={"events": [_view(viewer, event) for event in found]})


def _view(viewer: Viewer, event: models.Event) -> dict[str, Any]:
    cause = event.cause_code or legacy_reasons.code_of_cause(event.cause)
    why = events.reason(event)
    return {
        "created_at": utc(event.created_at),
        "cause": describe(cause) or event.cause,
        "cause_code": cause,
        "state": event.state,
        **viewer.explained(why),
        "server_id": event.instance_uuid,
        "project_id": event.project_id,
        "user_id": event.user_id,
        "request_id": event.request_id,
    }
