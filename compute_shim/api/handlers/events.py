# SPDX-License-Identifier: Apache-2.0
"""Events: the history of devices."""

from __future__ import annotations

from typing import Any

import webob

from compute_shim import exception, legacy_reasons
from compute_shim.api import devices, paging, validation
from compute_shim.api.call import Call
from compute_shim.api.schemas import events as schemas
from compute_shim.api.visibility import Viewer, utc
from compute_shim.db import events, history, models
from compute_shim.policies import events as policies
from novaclient_usb.reason_codes import describe


def index(call: Call) -> webob.Response:
    """List the events of all devices, including deleted ones, latest first.

    A project sees the events from the period in which it held the device.
    """
    call.authorize(policies.LIST)
    return _page(call, call.query(schemas.LIST))


def of_device(call: Call, device_id: str) -> webob.Response:
    """List the events of a device, latest first; a project sees those from the period in which it held it."""
    call.authorize(policies.LIST)
    query = call.query(schemas.OF_DEVICE)
    return _page(call, query, devices.find(call, device_id).id)


def _page(call: Call, query: dict[str, str], device_id: str | None = None) -> webob.Response:
    viewer = Viewer(call.project_id, call.may(policies.LIST_ALL))
    if query.get("project_id", call.project_id) != call.project_id:
        call.authorize(policies.LIST_ALL)
    limit = paging.limit(call, query)
    marker = _place(call, query["marker"].lower()) if "marker" in query else None
    rows = history.page(call.service.db, _filter(viewer, query, device_id), marker, limit + 1)
    page = rows[:limit]
    following = _id(page[-1]) if len(rows) > limit else None
    views = [_view(viewer, event) for event in page]
    return webob.Response(json=paging.answer(call, "events", query, views, following))


def _place(call: Call, marker: str) -> int:
    found = history.place(call.service.db, marker)
    if found is None:
        raise exception.Invalid(f"Invalid input: marker: event {marker} could not be found.")
    return found


def _id(event: models.Event) -> str:
    return event.event_id or str(event.id)


def _filter(viewer: Viewer, query: dict[str, str], device_id: str | None) -> history.Filter:
    return history.Filter(
        device_id=device_id or validation.uuid(query.get("device_id", "")),
        server_id=validation.uuid(query.get("server_id", "")),
        project_id=query.get("project_id", viewer.scope),
        oldest_first=query.get("sort_dir") == "asc",
        since=validation.moment("since", query["since"]) if "since" in query else None,
    )


def _view(viewer: Viewer, event: models.Event) -> dict[str, Any]:
    cause = event.cause_code or legacy_reasons.code_of_cause(event.cause)
    why = events.reason(event)
    # Who works in another project, an administrator for example, is not for this one to know.
    known = viewer.sees_all or event.actor_project_id == viewer.project_id
    shown = {
        "id": _id(event),
        "device_id": event.device_id or None,
        "device_name": event.device_name,
        "created_at": utc(event.created_at),
        "cause": describe(cause) or event.cause,
        "cause_code": cause,
        "state": event.state or None,
        **viewer.explained(why),
        "server_id": event.instance_uuid,
        "project_id": event.project_id,
        "user_id": event.user_id if known else None,
        "request_id": event.request_id if known else None,
    }
    if viewer.sees_all:
        shown |= {"host": event.host, "actor_project_id": event.actor_project_id}
    return shown
