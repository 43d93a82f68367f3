# SPDX-License-Identifier: Apache-2.0
"""Lists of devices: who sees which, filters, order and pages, as SQL."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import sqlalchemy as sa

from compute_shim.db import host_list, models
from compute_shim.db.api import Database
from compute_shim.liveness import Window
from compute_shim.objects import ReasonCode, State

_D = models.Device


@dataclasses.dataclass(frozen=True)
class Filter:
    """Which devices; None for a field that does not matter.

    :param project_id: the devices that this project may see; None: all.
    :param up: when the agent of a host must have been heard of for the host to be up.
    :param state: as whoever looks sees it.
    :param server_id: those that this server has, wherever they are.
    :param server_host: beside those, the devices of this host.
    """

    project_id: str | None
    up: Window
    state: str | None = None
    host: str | None = None
    vendor_id: str | None = None
    product_id: str | None = None
    server_id: str | None = None
    server_host: str | None = None


def page(
    db: Database, wanted: Filter, marker: models.Device | None = None, limit: int | None = None
) -> Sequence[models.Device]:
    """The devices that fit the filter, in the order in which they first showed up.

    :param marker: only those after this one.
    :param limit: at most so many.
    """
    statement = sa.select(_D).where(*_conditions(db, wanted)).order_by(_D.created_at, _D.id).limit(limit)
    if marker is not None:
        statement = statement.where(
            sa.or_(
                _D.created_at > marker.created_at,
                sa.and_(_D.created_at == marker.created_at, _D.id > marker.id),
            )
        )
    with db.reader() as session:
        return session.scalars(statement).all()


def sees(project_id: str | None, row: models.Device) -> bool:
    """May somebody know of a device?

    :param project_id: None for somebody who sees all.
    """
    if project_id is None or row.project_id == project_id:
        return True
    # One that is blocked without a code may not be offered: a program of RPC 1.0 stored it.
    offered = row.blocked_code != ReasonCode.NOT_OFFERED
    return offered and (row.blocked_reason is None or row.blocked_code is not None)


def _seen(project_id: str) -> sa.ColumnElement[bool]:
    """`sees`, of rows in the database."""
    offered = sa.and_(
        _D.blocked_code.is_distinct_from(ReasonCode.NOT_OFFERED),
        sa.or_(_D.blocked_reason.is_(None), _D.blocked_code.is_not(None)),
    )
    return sa.or_(_D.project_id == project_id, offered)


def _conditions(db: Database, wanted: Filter) -> list[sa.ColumnElement[bool]]:
    conditions = [
        getattr(_D, name) == value
        for name in ("host", "vendor_id", "product_id")
        if (value := getattr(wanted, name)) is not None
    ]
    if wanted.project_id is not None:
        conditions.append(_seen(wanted.project_id))
    if wanted.state is not None:
        conditions.append(_in_state(db, wanted))
    if wanted.server_id is not None:
        claimed = _D.instance_uuid == wanted.server_id
        there = _D.host == wanted.server_host
        conditions.append(claimed if wanted.server_host is None else sa.or_(claimed, there))
    return conditions


def _in_state(db: Database, wanted: Filter) -> sa.ColumnElement[bool]:
    """Rows that whoever looks sees in a state (`compute_shim.api.visibility.Viewer.view`)."""
    really = _D.state == wanted.state
    foreign: sa.ColumnElement[bool] = sa.false()
    if wanted.project_id is not None:
        foreign = sa.and_(_D.instance_uuid.is_not(None), _D.project_id != wanted.project_id)
    if wanted.state == State.UNAVAILABLE:
        return sa.or_(really, foreign, sa.and_(_D.state == State.AVAILABLE, _host_down(db, wanted)))
    if wanted.state == State.AVAILABLE:
        return sa.and_(really, sa.not_(_host_down(db, wanted)))
    return sa.and_(really, sa.not_(foreign))


def _host_down(db: Database, wanted: Filter) -> sa.ColumnElement[bool]:
    """Rows of hosts whose agent is not up. These are few; a join would look at all hosts."""
    down = host_list.down(db, wanted.up)
    return _D.host.in_(down) if down else sa.false()
