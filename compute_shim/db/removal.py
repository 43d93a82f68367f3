# SPDX-License-Identifier: Apache-2.0
"""Delete hosts, and claims on hosts whose agent does not return.

A host's row is locked first, as an agent's sync does it: of a removal and a sync at the same moment the sync
comes after, and makes new rows, or before, and the host is up.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import orm

from compute_shim.db import channels, events, models, sharing, states
from compute_shim.db.api import Database, retried
from compute_shim.db.events import Actor
from compute_shim.liveness import Window
from compute_shim.objects import ReasonCode


class HostUp(Exception):
    """The host's agent is up."""


class NotClaimed(Exception):
    """No server has the device."""


@retried
def delete_host(db: Database, name: str, up: Window, actor: Actor | None = None) -> bool:
    """Delete a host that is down, with its devices and their claims; their history stays.

    :returns: False if there is no such host
    :raises HostUp: its agent is up
    """
    with db.writer() as session:
        host = _host_that_is_down(session, name, up)
        rows = _devices(session, models.Device.host == name)
        sharing.forget(session, rows)
        channels.close(session, [row.id for row in rows])
        for row in rows:
            before = events.Snapshot.of(row) if row.instance_uuid else None
            _end(row)
            row.present = False
            states.derive_state(row)
            events.record(session, row, before, ReasonCode.HOST_DELETED, actor)
            session.delete(row)
        session.execute(sa.delete(models.Instance).where(models.Instance.host == name))
        session.execute(sa.delete(models.SharedSerial).where(models.SharedSerial.host == name))
        if host is not None:
            session.delete(host)
        found = host is not None or bool(rows)
        if found:
            events.add_of_host(session, name, ReasonCode.HOST_DELETED, actor)
        return found


@retried
def release(db: Database, device_id: str, up: Window, actor: Actor | None = None) -> models.Device | None:
    """End the claim on a device of a host that is down.

    An agent that comes back takes the device out of the server's domain, because the generation is a new one.

    :returns: the device after that, None if there is none of that id
    :raises HostUp: the host's agent is up, and gives the device back itself when it is detached
    :raises NotClaimed: no server has the device
    """
    with db.writer() as session:
        name = session.scalar(sa.select(models.Device.host).where(models.Device.id == device_id))
        if name is None:
            return None
        _host_that_is_down(session, name, up)
        [*found] = _devices(session, models.Device.id == device_id)
        if not found:
            return None
        [row] = found
        if row.instance_uuid is None:
            raise NotClaimed
        before = events.Snapshot.of(row)
        _end(row)
        channels.close(session, [row.id])
        states.derive_state(row)
        events.record(session, row, before, ReasonCode.RELEASED, actor)
        return row


def _host_that_is_down(session: orm.Session, name: str, up: Window) -> models.Host | None:
    host = session.get(models.Host, name, with_for_update=True)
    if host is not None and host.last_seen in up:
        raise HostUp
    return host


def _devices(session: orm.Session, condition: sa.ColumnElement[bool]) -> list[models.Device]:
    return list(session.scalars(sa.select(models.Device).where(condition).with_for_update()))


def _end(row: models.Device) -> None:
    states.end_claim(row)
    row.generation += 1
