# SPDX-License-Identifier: Apache-2.0
"""Database queries and updates; each function is one transaction.

Rows that are returned belong to no session any more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from oslo_log import log
from sqlalchemy import orm

from compute_shim import objects
from compute_shim.db import channels, events, handover, instances, kinds, models, sharing, states, syncs
from compute_shim.db.api import Database, retried
from compute_shim.db.events import Actor
from compute_shim.liveness import Window
from compute_shim.objects import Reason, ReasonCode, State

LOG = log.getLogger(__name__)

# What agents tell: devices and outcomes.


@retried
def sync_host(
    db: Database,
    host: str,
    hypervisor: str,
    version: str,
    devices: Iterable[objects.Device] | None,
    problems: Sequence[str] = (),
    servers: Mapping[str, objects.Server] | None = None,
    digest: str | None = None,
    relay_address: str | None = None,
) -> list[objects.Claim]:
    """Record what is plugged into a host now.

    :param devices: no two of the same identity; None: they are not known.
    :param problems: what the operator of the host has to mend, a line each.
    :param servers: by their UUIDs, all that have a domain there; None: unknown.
    :param digest: of all that the agent told, for `compute_shim.db.syncs.unchanged`.
    :param relay_address: where other hosts reach its relays, None: it takes no part in the network transport.
    :returns: what is wanted of every known device of the host, and of those of other hosts for servers on it
    """
    with db.writer() as session:
        is_new = syncs.record_host(
            session,
            host,
            hypervisor=hypervisor,
            version=version,
            digest=digest,
            relay_address=relay_address,
        )
        if problems or not is_new:
            for problem in syncs.record_problems(session, host, problems):
                why = Reason(ReasonCode.HOST_PROBLEM, problem)
                events.add_of_host(session, host, ReasonCode.HOST_PROBLEM, note=why)
        rows = list(
            session.scalars(sa.select(models.Device).where(models.Device.host == host).with_for_update())
        )
        before = {row.id: events.Snapshot.of(row) for row in rows}
        if devices is not None:
            rows = syncs.record_devices(session, host, rows, devices)
            changes = [(row, before.get(row.id)) for row in rows]
            events.record_many(session, changes, of_new_host=is_new)
        if servers is not None:
            instances.store(session, host, servers)
        surplus = syncs.surplus(rows)
        sharing.forget(session, surplus)
        for row in surplus:
            LOG.warning("Host %s has shown too many devices: forgetting %s", host, row.id)
            rows.remove(row)
            events.add(session, row, ReasonCode.FORGOTTEN, note=Reason(ReasonCode.SURPLUS))
            session.delete(row)
        if is_new:
            return [states.claim_of(row) for row in rows]
        session.flush()
        return channels.claims(session, host, rows)


@retried
def record_statuses(db: Database, host: str, outcomes: Iterable[objects.ClaimStatus]) -> set[str]:
    """Record the results of claims on a host; a result without a claim on that host changes nothing.

    :returns: ids of the devices of the host whose relay has another port, of which that of the server's host
        has to be told
    """
    by_id = {outcome.device_id: outcome for outcome in outcomes}
    moved: set[str] = set()
    with db.writer() as session:
        ends = channels.of(session, by_id)
        ours = {device_id for device_id, channel in ends.items() if channel.server_host == host}
        hosts = {host, *(channel.device_host for channel in ends.values())}
        # As a sync does, or each may lock a device that the other wants next.
        locked = sa.select(models.Host.host).where(models.Host.host.in_(hosts)).order_by(models.Host.host)
        session.execute(locked.with_for_update())
        rows = session.scalars(
            sa.select(models.Device)
            .where(
                sa.or_(models.Device.host == host, models.Device.id.in_(ours))
                if ours
                # One condition, where nothing is carried to the host: an index has both columns.
                else models.Device.host == host,
                models.Device.id.in_(by_id),
            )
            .with_for_update()
        ).all()
        for row in rows:
            before = events.Snapshot.of(row)
            outcome, channel = by_id[row.id], ends.get(row.id)
            port = None if channel is None else channel.relay_port
            if _apply(session, row, channel, host, outcome):
                events.record(session, row, before, handover.cause(outcome), note=_note(outcome))
                if channel is not None and channel.relay_port != port:
                    moved.add(row.id)
            else:
                LOG.debug("Not an answer to the claim on device %s: %r", row.id, outcome)
    return moved


def _apply(
    session: orm.Session,
    row: models.Device,
    channel: models.Channel | None,
    host: str,
    outcome: objects.ClaimStatus,
) -> bool:
    """Apply what the agent of a host tells; False if it does not answer the claim."""
    if channel is not None and row.state in states.CLAIMED:
        end = channels.End.DEVICE if row.host == host else channels.End.SERVER
        return channels.apply_status(row, channel, end, outcome)
    if row.host != host or not states.apply_status(row, outcome):
        return False
    if channel is not None and row.instance_uuid is None:
        channels.close(session, [row.id])
    return True


def _note(outcome: objects.ClaimStatus) -> Reason | None:
    """What became of the reset of a device that is free now, for its history."""
    if outcome.state != State.AVAILABLE or outcome.reason_code in (None, ReasonCode.WIPED):
        return None
    return Reason(outcome.reason_code, outcome.reason)


# What the API reads and writes.


def device(db: Database, device_id: str) -> models.Device | None:
    """One device, None if there is none of that id."""
    with db.reader() as session:
        return session.get(models.Device, device_id)


def devices(db: Database, *conditions: sa.ColumnElement[bool]) -> Sequence[models.Device]:
    """The devices that match all conditions, in the order in which they were first reported."""
    statement = sa.select(models.Device).where(*conditions)
    with db.reader() as session:
        return session.scalars(statement.order_by(models.Device.created_at, models.Device.id)).all()


def devices_of_server(db: Database, server_id: str) -> Sequence[models.Device]:
    """The devices that a server has, those that are being taken out of it included."""
    return devices(db, models.Device.instance_uuid == server_id)


@retried
def set_device(
    db: Database,
    device_id: str,
    actor: Actor | None = None,
    check: Callable[[models.Device], None] = lambda row: None,
    **values: Any,
) -> models.Device | None:
    """Change what an operator may change of a device: ``description``, ``enabled``, ``shared``, ``kind``.

    :param check: raises what keeps the device, which is locked, from being changed.
    :returns: the device after that, None if there is none of that id
    """
    with db.writer() as session:
        row = session.get(models.Device, device_id, with_for_update=True)
        if row is not None:
            check(row)
            description, enabled = row.description, row.enabled
            if "shared" in values:
                sharing.set_shared(session, row, values.pop("shared"), actor)
            if "kind" in values:
                kinds.set_kind(session, row, values.pop("kind"), actor)
            for name, value in values.items():
                setattr(row, name, value)
            states.derive_state(row)
            events.operated(session, row, description, enabled, actor)
        return row


@retried
def forget(db: Database, device_id: str, actor: Actor | None = None) -> bool:
    """Delete the row of a device that is neither plugged in nor claimed; False if there is no such row.

    Its history stays.
    """
    with db.writer() as session:
        row = session.get(models.Device, device_id, with_for_update=True)
        if row is None or row.present or row.instance_uuid is not None:
            return False
        events.add(session, row, ReasonCode.FORGOTTEN, actor)
        sharing.forget(session, [row])
        session.delete(row)
        return True


def host(db: Database, name: str) -> models.Host | None:
    """One host, None if no agent of that name has ever reported."""
    with db.reader() as session:
        return session.get(models.Host, name)


def hosts(db: Database) -> Sequence[models.Host]:
    """All hosts whose agent has ever reported, by name."""
    with db.reader() as session:
        return session.scalars(sa.select(models.Host).order_by(models.Host.host)).all()


def hosts_up(db: Database, up: Window, names: Collection[str] | None = None) -> set[str]:
    """The hosts whose agent is up.

    :param names: only of these; None: of all.
    """
    statement = sa.select(models.Host.host).where(models.Host.last_seen.between(up.begin, up.end))
    if names is not None:
        statement = statement.where(models.Host.host.in_(names))
    with db.reader() as session:
        return set(session.scalars(statement))
