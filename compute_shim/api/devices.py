# SPDX-License-Identifier: Apache-2.0
"""Devices that a request names, and pages of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compute_shim import exception, liveness
from compute_shim.api import paging, validation
from compute_shim.api.call import Call
from compute_shim.api.schemas.devices import FOR_ADMINS
from compute_shim.api.visibility import Viewer
from compute_shim.db import channels, device_list, models, queries, sharing
from compute_shim.policies import devices as policies
from novaclient_usb.reason_codes import ReasonCode


def find(call: Call, device_id: str) -> models.Device:
    """A device that the caller may see.

    :raises compute_shim.exception.NotFound: there is none of that id, or it is not for the caller to see
    """
    known_id = validation.uuid(device_id)
    row = device_list.find(call.service.db, known_id, Viewer.of(call).scope) if known_id else None
    if row is None:
        raise no_device(device_id)
    return row


def refuse_unknown_kind(call: Call, project_id: str | None, kind: str) -> None:
    """Check that a device of the kind exists, on any host and with any owner.

    :param project_id: of the viewer; None: all projects.
    :raises compute_shim.exception.NotFound: there is none
    """
    some = device_list.Filter(project_id, liveness.Window.now(call.service.conf), kind=kind)
    if not device_list.page(call.service.db, some, device_list.Order(), limit=1):
        raise exception.NotFound(f"USB device kind {kind} could not be found.", ReasonCode.KIND_NOT_FOUND)


def no_device(device_id: str) -> exception.NotFound:
    """The error for a device that does not exist or that the caller may not see."""
    return exception.NotFound(f"USB device {device_id} could not be found.", ReasonCode.DEVICE_NOT_FOUND)


def authorize_query(call: Call, query: Mapping[str, str]) -> None:
    """Allow filters and sort keys on hidden attributes only to callers who see all devices.

    :raises compute_shim.exception.Forbidden: the caller may not
    """
    if any(name in query for name in FOR_ADMINS) or query.get("sort_key") in FOR_ADMINS:
        call.authorize(policies.SEE_ALL)


def page(
    call: Call, query: Mapping[str, str], wanted: device_list.Filter
) -> tuple[Sequence[models.Device], str | None]:
    """A page of the devices that fit a filter, and the marker of the page after it, None if it is the last.

    :param query: as the schema of a list has it (`compute_shim.api.schemas.base.listing`).
    :raises compute_shim.exception.Invalid: the marker is no device that the caller may see
    """
    limit = paging.limit(call, query)
    order = device_list.Order(query.get("sort_key", "created_at"), query.get("sort_dir") == "desc")
    rows = device_list.page(call.service.db, wanted, order, _marker(call, query, order), limit + 1)
    page = rows[:limit]
    return page, page[-1].id if len(rows) > limit else None


def _marker(call: Call, query: Mapping[str, str], order: device_list.Order) -> device_list.Marker | None:
    if "marker" not in query:
        return None
    row = device_list.find(call.service.db, query["marker"].lower(), Viewer.of(call).scope)
    if row is None:
        raise exception.Invalid(f"Invalid input: marker: device {query['marker']} could not be found.")
    value = views(call, [row])[0]["state"] if order.key == "state" else getattr(row, order.key)
    return device_list.Marker(value, row.id)


def views(call: Call, rows: Sequence[models.Device]) -> list[dict[str, Any]]:
    """Devices in JSON, as the caller may see them."""
    viewer = Viewer.of(call)
    up = liveness.Window.now(call.service.conf)
    live = queries.hosts_up(call.service.db, up, {row.host for row in rows}) if rows else set()
    projects = sharing.projects(call.service.db, rows) if viewer.sees_all else {}
    carried = [row.id for row in rows if row.claimed_transport is not None]
    elsewhere = channels.server_hosts(call.service.db, carried)
    return [
        viewer.view(row, row.host in live, projects.get(row.id, ()), elsewhere.get(row.id)) for row in rows
    ]
