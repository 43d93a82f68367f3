# SPDX-License-Identifier: Apache-2.0
"""Devices."""

from __future__ import annotations

import hashlib
import json
import re

import webob

from compute_shim import exception, liveness
from compute_shim.api import conditions, devices, paging, servers, transports
from compute_shim.api.call import Call
from compute_shim.api.schemas import base
from compute_shim.api.schemas import devices as schemas
from compute_shim.api.visibility import Viewer
from compute_shim.db import device_list, handover, instances, models, queries, removal, sharing
from compute_shim.policies import devices as policies
from novaclient_usb.reason_codes import ReasonCode


def index(call: Call) -> webob.Response:
    """List the devices that the caller may see."""
    call.authorize(policies.LIST)
    query = call.query(schemas.LIST)
    devices.authorize_query(call, query)
    wanted = _filter(call, query)
    with call.service.db.reader():
        rows, marker = devices.page(call, query, wanted)
        views = devices.views(call, rows)
    if wanted.server_id is not None:
        for row, view in zip(rows, views, strict=True):
            view["other_host"] = wanted.server_host not in (None, row.host)
    return webob.Response(json=paging.answer(call, "devices", query, views, marker))


def _filter(call: Call, query: dict[str, str]) -> device_list.Filter:
    server = servers.find(call, query["server_id"]) if "server_id" in query else None
    host = instances.host_of(call.service.db, server) if server else None
    return device_list.Filter(
        project_id=Viewer.of(call).scope,
        up=liveness.Window.now(call.service.conf),
        state=query.get("state"),
        host=query.get("host"),
        vendor_id=query["vendor_id"].lower() if "vendor_id" in query else None,
        product_id=query["product_id"].lower() if "product_id" in query else None,
        serial=query.get("serial"),
        port=query.get("port"),
        kind=query.get("kind"),
        owner=query.get("project_id"),
        server_id=server.id if server else None,
        server_host=host,
        over_network=query.get("transport", transports.LOCAL) != transports.LOCAL,
    )


def show(call: Call, device_id: str) -> webob.Response:
    """Show a device. Clients poll this while they wait."""
    call.authorize(policies.SHOW)
    call.query(base.NOTHING)
    with call.service.db.reader():
        return _answer(call, devices.find(call, device_id))


def explain(call: Call, device_id: str) -> webob.Response:
    """List the conditions for attaching a device, met and unmet."""
    call.authorize(policies.EXPLAIN)
    query = call.query(schemas.EXPLAIN)
    row = devices.find(call, device_id)
    server = servers.find(call, query["server_id"]) if "server_id" in query else None
    found = list(conditions.of_device(call, row, server))
    if server is not None:
        found += conditions.of_server(call, row, server)
    viewer = Viewer.of(call)
    transport = conditions.transport(found)
    option = "--transport network " if transport == "network" else ""
    wanted = f"{option}{server.id if server else 'SERVER'} {row.id}"
    explanation = {
        "device_id": row.id,
        "server_id": None if server is None else server.id,
        "transport": transport,
        "attachable": all(condition.met for condition in found),
        "conditions": [
            {"condition": it.name, "met": it.met, **viewer.explained(it.why), "note": it.note} for it in found
        ],
        "commands": [f"openstack server add usb device {wanted}", f"nova usb-attach {wanted}"],
    }
    return webob.Response(json={"explanation": explanation})


def update(call: Call, device_id: str) -> webob.Response:
    """Change the description, the kind or the sharing of a device, or enable or disable it."""
    # Who may do neither learns nothing of the body.
    if not call.may(policies.SHARE):
        call.authorize(policies.UPDATE)
    call.query(base.NOTHING)
    changes = call.body(schemas.UPDATE)["device"]
    if "shared" in changes:
        call.authorize(policies.SHARE)
    if changes.keys() - {"shared"}:
        call.authorize(policies.UPDATE)

    def check(row: models.Device) -> None:
        if _tag(row) not in call.request.if_match:
            raise exception.PreconditionFailed(
                f"USB device {row.id} has changed since it was last retrieved. Retrieve it again."
            )

    row = queries.set_device(
        call.service.db, devices.find(call, device_id).id, call.actor, check=check, **changes
    )
    if row is None:
        raise devices.no_device(device_id)
    return _answer(call, row)


def share(call: Call, device_id: str, project_id: str) -> webob.Response:
    """Share a device with a project."""
    row = _of_sharing(call, device_id, project_id)
    if call.service.keystone.lacks_project(call.token, project_id):
        raise exception.Invalid(f"Invalid input: project {project_id} could not be found.")
    return _after_sharing(row, sharing.add_project(call.service.db, row.id, project_id, call.actor))


def unshare(call: Call, device_id: str, project_id: str) -> webob.Response:
    """Stop sharing a device with a project. An existing attachment is kept."""
    row = _of_sharing(call, device_id, project_id)
    return _after_sharing(row, sharing.remove_project(call.service.db, row.id, project_id, call.actor))


def _of_sharing(call: Call, device_id: str, project_id: str) -> models.Device:
    """The device whose sharing is changed."""
    call.authorize(policies.SHARE)
    call.query(base.NOTHING)
    if not re.fullmatch(schemas.PROJECT_ID, project_id):
        raise exception.Invalid(f"Invalid input: {project_id!r} is not a valid project ID.")
    return devices.find(call, device_id)


def _after_sharing(row: models.Device, after: models.Device | None) -> webob.Response:
    if after is None:
        raise devices.no_device(row.id)
    return webob.Response(status=204, content_type=None)


def delete(call: Call, device_id: str) -> webob.Response:
    """Delete a device that is permanently unplugged."""
    call.authorize(policies.DELETE)
    call.query(base.NOTHING)
    row = devices.find(call, device_id)
    if not queries.forget(call.service.db, row.id, call.actor):
        raise exception.Conflict(
            f"USB device {row.id} is {'plugged in' if row.present else 'claimed by a server'}. Only an"
            " unplugged device without a claim can be deleted.",
            ReasonCode.DEVICE_PLUGGED_IN if row.present else ReasonCode.DEVICE_CLAIMED,
        )
    return webob.Response(status=204, content_type=None)


def release(call: Call, device_id: str) -> webob.Response:
    """Release a held device, or the claim on a device of a host that is permanently down."""
    call.authorize(policies.RELEASE)
    call.query(base.NOTHING)
    row = devices.find(call, device_id)
    free = handover.release(call.service.db, row.id, call.actor)
    if free is not None:
        call.nudge(row.id)
        return _answer(call, free)
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
    answer = webob.Response(json={"device": devices.views(call, [row])[0]})
    # To others it would tell when the server of another project gets or loses the device.
    if Viewer.of(call).sees_all:
        answer.etag = _tag(row)
    return answer


def _tag(row: models.Device) -> str:
    """The entity tag of a device: it changes with who has it and with all that `update` changes."""
    content = json.dumps([row.generation, row.description, row.enabled, row.shared, row.sharing_by, row.kind])
    return hashlib.sha256(content.encode()).hexdigest()[:32]
