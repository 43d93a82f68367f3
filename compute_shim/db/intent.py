# SPDX-License-Identifier: Apache-2.0
"""The desired state: which server is to have a device. Each function is one transaction.

A claim is decided by one UPDATE that names what must be true before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from oslo_utils import timeutils
from sqlalchemy import orm

from compute_shim import objects
from compute_shim.db import channels, events, handover, host_list, lines, models, sharing, states, usage
from compute_shim.db.api import Database, retried
from compute_shim.db.clock import InSeconds
from compute_shim.db.events import Actor
from compute_shim.db.usage import Caps
from compute_shim.liveness import Window
from compute_shim.objects import Reason, ReasonCode, State

NO_CAPS = Caps()

_D = models.Device


@retried
def claim(
    db: Database,
    device_id: str,
    server_id: str,
    project_id: str,
    actor: Actor | None = None,
    *,
    unshared: bool = False,
    kind: str | None = None,
    caps: Caps = NO_CAPS,
    lease: int | None = None,
    transport: str | None = None,
    server_host: str | None = None,
) -> bool:
    """Take a free device for a server of a project.

    :returns: False if it is not free, or not shared with the project, or other servers are in line for it
    :param unshared: take it whomever it is shared with.
    :param kind: take it as one of this kind, so that another may take its place.
    :param lease: seconds for which the server has it; None: as long as it likes.
    :param transport: one of `channels.TRANSPORTS`; None: on the device's host only.
    :param server_host: where the server is, if that is not the device's host.
    :raises compute_shim.db.usage.OverLimit: the project, or the server, would have too many
    """
    with db.writer() as session:
        taken = take(
            session,
            device_id,
            server_id,
            project_id,
            actor,
            sa.not_(lines.wanted(besides=server_id)),
            unshared=unshared,
            kind=kind,
            caps=caps,
            lease=lease,
            transport=transport,
            server_host=server_host,
        )
        if taken:
            lines.leave(session, server_id, device_id, kind)
        return taken


def take(
    session: orm.Session,
    device_id: str,
    server_id: str,
    project_id: str,
    actor: Actor | None,
    *conditions: sa.ColumnElement[bool],
    cause: ReasonCode = ReasonCode.REQUESTED,
    unshared: bool = False,
    kind: str | None = None,
    caps: Caps = NO_CAPS,
    lease: int | None = None,
    allocated: bool | None = None,
    transport: str | None = None,
    server_host: str | None = None,
) -> bool:
    """As `claim`, in an existing transaction.

    :param conditions: which must hold as well.
    :param allocated: the claim is from an allocation of Nova's.
    """
    values = {
        "instance_uuid": server_id,
        "project_id": project_id,
        "user_id": actor and actor.user_id,
        "claimed_kind": kind,
        "claimed_transport": transport,
        "lease_until": None if lease is None else InSeconds(lease),
        "lease_warned": None,
        "allocated": allocated,
        "state": State.ATTACHING,
    }
    if caps:
        usage.lock(session, project_id)
    conditions = (
        *conditions,
        *free(kind, None if unshared else project_id),
        handover.open_to(project_id),
    )
    taken = _put(session, device_id, cause, actor, conditions, values)
    if taken:
        row = session.get_one(_D, device_id)
        usage.check(session, caps, row)
        if server_host is not None:
            channels.open_to(session, row, server_host)
    return taken


def free(kind: str | None, project_id: str | None) -> list[sa.ColumnElement[bool]]:
    """Rows of devices that can be claimed.

    :param kind: None: of whatever kind.
    :param project_id: by this project; None: by somebody who may have all.
    """
    return [
        _D.instance_uuid.is_(None),
        _D.state == State.AVAILABLE,
        _D.present.is_(True),
        _D.enabled.is_(True),
        sa.true() if project_id is None else sharing.visible_to(project_id),
        sa.true() if kind is None else _D.kind == kind,
    ]


@retried
def replace(db: Database, claim: models.Device, host: str, up: Window | None = None) -> str | None:
    """Have a claim on one of a kind fulfilled by another of the kind, on the host where the server is now.

    :param claim: as it was when that was found out.
    :param up: tells which agents are up: also by a device of another host, over the network; None: by one
        that is there.
    :returns: the id of the device that the server gets; None if none is free, or the claim has changed
        meanwhile
    """
    there = _D.host == host if up is None else _D.host.not_in(host_list.down(db, up))
    with db.writer() as session:
        row = session.get(_D, claim.id, with_for_update=True)
        if row is None or row.generation != claim.generation or row.state not in states.CLAIMED:
            return None
        conditions = [*free(row.claimed_kind, row.project_id), handover.open_to(row.project_id or "")]
        transport = sa.literal(row.claimed_transport, sa.String)
        candidates = (
            sa.select(_D.id, _D.host)
            .where(there, channels.usable(transport, _D, host), *conditions)
            .order_by(sa.case((_D.host == host, 0), else_=1), _D.created_at, _D.id)
        )
        values = {
            "instance_uuid": row.instance_uuid,
            "project_id": row.project_id,
            "user_id": row.user_id,
            "claimed_kind": row.claimed_kind,
            "claimed_transport": row.claimed_transport,
            "lease_until": row.lease_until,
            "lease_warned": row.lease_warned,
            "allocated": row.allocated,
            "state": State.ATTACHING,
        }
        for device_id, device_host in session.execute(candidates).all():
            if _put(session, device_id, ReasonCode.SERVER_MOVED, None, conditions, values):
                if device_host != host:
                    channels.open_to(session, session.get_one(_D, device_id), host)
                begin_release(session, row, ReasonCode.SERVER_MOVED)
                return str(device_id)
        return None


def begin_release(session: orm.Session, row: models.Device, cause: ReasonCode) -> None:
    """Have a device, whose row is locked, taken out of its server."""
    before = events.Snapshot.of(row)
    row.generation += 1
    states.put(row, State.DETACHING)
    events.record(session, row, before, cause)


@retried
def retry(db: Database, device_id: str, server_id: str, actor: Actor | None = None) -> bool:
    """Retry a failed claim; False if the server has no failed claim on the device."""
    return _change(
        db,
        device_id,
        ReasonCode.REQUESTED,
        actor,
        _D.instance_uuid == server_id,
        _D.state == State.FAILED,
        state=State.ATTACHING,
    )


@retried
def change_transport(
    db: Database, device_id: str, server_id: str, transport: str | None, actor: Actor | None = None
) -> None:
    """Have the claim of a server on a device fulfilled otherwise, unless it has none any more.

    Whether it is to go over the network then, where the server is, is found out later (`channels.pending`).

    :param transport: as for `claim`.
    """
    with db.writer() as session:
        row = session.get(_D, device_id, with_for_update=True)
        if row is None or row.instance_uuid != server_id or row.state not in states.CLAIMED:
            return
        if row.claimed_transport == transport:
            return
        row.claimed_transport = transport
        if transport is None and channels.of(session, [row.id]):
            channels.close(session, [row.id])
            row.generation += 1
            states.put(row, State.ATTACHING)
        events.add(session, row, ReasonCode.TRANSPORT_CHANGED, actor)


@retried
def release(
    db: Database,
    device_id: str,
    server_id: str,
    cause: ReasonCode = ReasonCode.REQUESTED,
    actor: Actor | None = None,
) -> bool:
    """Release a device; False if the server has no claim on it, or has already released it."""
    return _change(
        db,
        device_id,
        cause,
        actor,
        _D.instance_uuid == server_id,
        _D.state.in_(states.CLAIMED),
        state=State.DETACHING,
    )


@retried
def wait_for_server(db: Database, claim: models.Device, code: ReasonCode) -> None:
    """Record where the server of a claim is instead, unless the claim has changed since.

    :param claim: as it was when that was found out.
    """
    with db.writer() as session:
        row = session.get(_D, claim.id, with_for_update=True)
        if row is None:
            return
        before = events.Snapshot.of(row)
        if (row.generation, before) != (claim.generation, events.Snapshot.of(claim)):
            return
        states.put(row, State.WAITING, Reason(code))
        events.record(session, row, before)


def _change(
    db: Database,
    device_id: str,
    cause: ReasonCode,
    actor: Actor | None,
    *conditions: sa.ColumnElement[bool],
    **values: Any,
) -> bool:
    """Change the intent for a device if all the conditions hold."""
    with db.writer() as session:
        return _put(session, device_id, cause, actor, conditions, values)


def _put(
    session: orm.Session,
    device_id: str,
    cause: ReasonCode,
    actor: Actor | None,
    conditions: Iterable[sa.ColumnElement[bool]],
    values: Mapping[str, Any],
) -> bool:
    """As `_change`, in an existing transaction."""
    statement = (
        sa.update(_D)
        .where(_D.id == device_id, *conditions)
        .values(
            generation=_D.generation + 1,
            reason_code=None,
            state_reason=None,
            state_since=timeutils.utcnow(),
            **values,
        )
    )
    changed = session.connection().execute(statement).rowcount == 1
    if changed:
        events.record(session, session.get_one(_D, device_id), None, cause, actor)
    return changed


def claims_for_agents(db: Database, device_id: str) -> list[tuple[str, str, objects.Claim]]:
    """Host, RPC version of its agent, and what is wanted of a device: of its own host, then of the server's.

    :returns: nothing if there is no such device; one unless it is used over the network
    """
    own, peer = orm.aliased(models.Host), orm.aliased(models.Host)
    statement = (
        sa.select(_D, own, models.Channel, peer)
        .outerjoin(own, own.host == _D.host)
        .outerjoin(models.Channel, models.Channel.device_id == _D.id)
        .outerjoin(peer, peer.host == models.Channel.server_host)
        .where(_D.id == device_id)
    )
    with db.reader() as session:
        found = session.execute(statement).one_or_none()
        if found is None:
            return []
        row, host, channel, server_host = found
        ends = [
            (row.host, "" if host is None else host.version, channels.device_end(row, channel, server_host))
        ]
        if channel is not None and server_host is not None:
            claim = channels.server_end(row, channel, host)
            ends.append((channel.server_host, server_host.version, claim))
        return ends
