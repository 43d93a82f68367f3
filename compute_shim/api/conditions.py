# SPDX-License-Identifier: Apache-2.0
"""The conditions for attaching a device, as far as the caller may know them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator

from compute_shim import exception, liveness, nova
from compute_shim.api import servers, transports
from compute_shim.api.call import Call
from compute_shim.api.visibility import Viewer
from compute_shim.db import device_list, handover, instances, models, queries, queue, states, usage
from compute_shim.objects import Reason, ReasonCode
from compute_shim.policies import attachments as policies
from novaclient_usb.reason_codes import describe

#: The note of a device that a server on another host can have; of one that it cannot have, it says why.
OVER_NETWORK = "over the network"


@dataclasses.dataclass(frozen=True)
class Condition:
    """A condition for attaching a device.

    :param met: None if the caller may not know, because another project has the device.
    :param why: the reason if it is not met.
    :param note: additional information.
    """

    name: str
    met: bool | None
    why: Reason | None = None
    note: str | None = None


def of_device(call: Call, row: models.Device, server: nova.Server | None) -> Iterator[Condition]:
    """The conditions on a device that the caller may see.

    :param server: the server to attach it to, if known.
    """
    viewer = Viewer.of(call)
    offered = row.blocked_code != ReasonCode.NOT_OFFERED
    yield Condition(
        "offered", offered, _if(not offered, row.blocked_code), row.rule if viewer.sees_all else None
    )
    project_id = call.project_id if server is None else server.project_id
    shared = viewer.sees_all or device_list.find(call.service.db, row.id, project_id) is not None
    yield _condition("shared", shared, ReasonCode.DEVICE_NOT_SHARED)
    yield _condition("enabled", row.enabled, ReasonCode.DISABLED)
    if viewer.owns(row):
        yield from _of_its_host(call, row, project_id)
    else:
        for name in ("plugged_in", "host_up", "unused_by_host", "handed_over"):
            yield Condition(name, None)
    free = row.instance_uuid is None or (server is not None and row.instance_uuid == server.id)
    yield _condition("free", free, ReasonCode.DEVICE_TAKEN if viewer.owns(row) else ReasonCode.IN_USE)


def _of_its_host(call: Call, row: models.Device, project_id: str) -> Iterator[Condition]:
    yield _condition("plugged_in", row.present, ReasonCode.UNPLUGGED)
    up = liveness.Window.now(call.service.conf)
    yield _condition("host_up", bool(queries.hosts_up(call.service.db, up, [row.host])), ReasonCode.HOST_DOWN)
    used = row.blocked_reason is not None and row.blocked_code != ReasonCode.NOT_OFFERED
    why = Reason(row.blocked_code or ReasonCode.HOST_USE, row.blocked_reason)
    yield Condition("unused_by_host", not used, why if used else None)
    wiped = states.reason(row) if states.waits_for_wipe(row) and row.present else None
    held = Reason(ReasonCode.HELD) if handover.is_held(row, project_id) else wiped
    yield Condition("handed_over", held is None, held)


def of_server(call: Call, row: models.Device, server: nova.Server) -> Iterator[Condition]:
    """The conditions on a server that the caller may see."""
    yield _condition("allowed", _passes(call, server, _authorize), ReasonCode.FORBIDDEN)
    yield _condition("unlocked", _passes(call, server, servers.refuse_locked), ReasonCode.SERVER_LOCKED)
    yield _condition("on_a_host", bool(server.host_id), ReasonCode.SERVER_NOT_ON_HOST)
    host = instances.host_of(call.service.db, server, row.host)
    code = transports.obstacle(call, row, host, transports.ANY)
    note = None if host in (None, row.host) else OVER_NETWORK if code is None else describe(code)
    yield Condition("same_host", code is None, _if(code is not None, ReasonCode.DEVICE_ON_OTHER_HOST), note)
    awaited = queue.is_awaited(call.service.db, row.id, besides=server.id)
    yield _condition("first_in_line", not awaited, ReasonCode.QUEUED_FOR_OTHERS)
    most = call.service.conf.api.max_devices_per_server
    caps = usage.Caps(call.service.keystone.limits(server.project_id), most)
    over = usage.would_exceed(call.service.db, caps, row, server.id, server.project_id)
    for name, code in (
        ("usb_port", ReasonCode.NO_FREE_USB_PORT),
        ("server_limit", ReasonCode.TOO_MANY_DEVICES),
        ("quota", ReasonCode.QUOTA_EXCEEDED),
    ):
        found = over.get(name)
        note = None if found is None else f"{found.used} of {found.limit} are in use"
        yield Condition(name, found is None, _if(found is not None, code), note)


def transport(found: Iterable[Condition]) -> str | None:
    """By which transport a server can have the device, None if it is where the server cannot have it."""
    for condition in found:
        if condition.name == "same_host" and condition.met:
            return "network" if condition.note == OVER_NETWORK else transports.LOCAL
    return None


def _condition(name: str, met: bool, code: ReasonCode) -> Condition:
    return Condition(name, met, _if(not met, code))


def _if(unmet: bool, code: str | None) -> Reason | None:
    return Reason(code) if unmet and code is not None else None


def _authorize(call: Call, server: nova.Server) -> None:
    call.authorize(policies.CREATE)
    servers.authorize(call, policies.CREATE, server)


def _passes(call: Call, server: nova.Server, check: Callable[[Call, nova.Server], None]) -> bool:
    try:
        check(call, server)
    except (exception.Forbidden, exception.Conflict):
        return False
    return True
