# SPDX-License-Identifier: Apache-2.0
"""Lists of devices: who sees which, filters, order and pages, as SQL."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from compute_shim.db import channels, handover, host_list, models, sharing
from compute_shim.db.api import Database
from compute_shim.liveness import Window
from compute_shim.objects import ReasonCode, State

_D = models.Device


@dataclasses.dataclass(frozen=True)
class Filter:
    """Which devices; None for a field that does not matter.

    :param project_id: the devices that this project may see; None: all.
    :param up: when the agent of a host must have been heard of for the host to be up.
    :param ids: those of these ids.
    :param state: as whoever looks sees it.
    :param owner: the project that has them.
    :param server_id: those that this server has, wherever they are.
    :param server_host: beside those, the devices of this host.
    :param over_network: with ``server_host``, also the devices that can be used over the network.
    """

    project_id: str | None
    up: Window
    ids: frozenset[str] | None = None
    state: str | None = None
    host: str | None = None
    vendor_id: str | None = None
    product_id: str | None = None
    serial: str | None = None
    port: str | None = None
    kind: str | None = None
    owner: str | None = None
    server_id: str | None = None
    server_host: str | None = None
    over_network: bool = False


@dataclasses.dataclass(frozen=True)
class Order:
    """In which order: by a column that is never NULL, devices of the same value by their ids.

    Databases put NULLs first or last, each as it likes.
    """

    key: str = "created_at"
    descending: bool = False


@dataclasses.dataclass(frozen=True)
class Marker:
    """The device that a page begins after.

    :param value: of what the list is ordered by.
    """

    value: Any
    id: str


def page(
    db: Database,
    wanted: Filter,
    order: Order,
    marker: Marker | None = None,
    limit: int | None = None,
) -> Sequence[models.Device]:
    """The devices that fit the filter, at most ``limit`` of them."""
    key = seen_state(db, wanted) if order.key == "state" else getattr(_D, order.key)
    keys = (key.desc(), _D.id.desc()) if order.descending else (key, _D.id)
    fitting = _filters(db, wanted)
    if marker is not None:
        after = operator.lt if order.descending else operator.gt
        same = sa.and_(key == marker.value, after(_D.id, marker.id))
        # The first condition is implied by the second; databases find the place in an index by it alone.
        begin = key <= marker.value if order.descending else key >= marker.value
        fitting += [begin, sa.or_(after(key, marker.value), same)]
    statement = sa.select(_D)
    if wanted.project_id is None:
        statement = statement.where(*fitting)
    elif limit is None:
        statement = statement.where(_seen(wanted.project_id), *fitting)
    else:
        # Where a project sees few of many devices, databases would look for them in all rows: no index is one
        # of all ways to see a device. Each way has one.
        ways = (sa.select(_D.id).where(way, *fitting) for way in _ways_to_see(wanted.project_id))
        seen = [sa.select(way.order_by(*keys).limit(limit).subquery()) for way in ways]
        found = sa.union(*seen).subquery()
        statement = statement.join(found, found.c.id == _D.id)
    with db.reader() as session:
        return session.scalars(statement.order_by(*keys).limit(limit)).all()


def find(db: Database, device_id: str, project_id: str | None) -> models.Device | None:
    """One device; None if there is none of that id, or a project may not know of it.

    :param project_id: None for somebody who sees all.
    """
    statement = sa.select(_D).where(_D.id == device_id)
    if project_id is not None:
        statement = statement.where(_seen(project_id))
    with db.reader() as session:
        return session.scalars(statement).one_or_none()


def _seen(project_id: str) -> sa.ColumnElement[bool]:
    """Rows of which a project may know: those that it has, and those that are offered and shared with it."""
    return sa.or_(*_ways_to_see(project_id))


def _ways_to_see(project_id: str) -> list[sa.ColumnElement[bool]]:
    # One that is blocked without a code may not be offered: a program of RPC 1.0 stored it.
    offered = sa.and_(
        _D.blocked_code.is_distinct_from(ReasonCode.NOT_OFFERED),
        sa.or_(_D.blocked_reason.is_(None), _D.blocked_code.is_not(None)),
    )
    shared = (sharing.with_all(), sharing.by_name(project_id))
    return [_D.project_id == project_id, *(sa.and_(way, offered) for way in shared)]


def conditions(db: Database, wanted: Filter) -> list[sa.ColumnElement[bool]]:
    """What rows that fit the filter fulfil."""
    seen = [] if wanted.project_id is None else [_seen(wanted.project_id)]
    return seen + _filters(db, wanted)


def _filters(db: Database, wanted: Filter) -> list[sa.ColumnElement[bool]]:
    """The same, whoever may know of them."""
    conditions = [
        getattr(_D, name) == value
        for name in ("host", "vendor_id", "product_id", "serial", "port", "kind")
        if (value := getattr(wanted, name)) is not None
    ]
    if wanted.serial is not None and wanted.project_id is not None:
        conditions.append(sa.not_(_foreign(wanted)))
    if wanted.ids is not None:
        conditions.append(_D.id.in_(wanted.ids))
    if wanted.owner is not None:
        conditions.append(_D.project_id == wanted.owner)
    if wanted.state is not None:
        conditions.append(_in_state(db, wanted))
    if wanted.server_id is not None:
        claimed = _D.instance_uuid == wanted.server_id
        there = _D.host == wanted.server_host
        if wanted.over_network:
            there = sa.or_(there, channels.carried(_D, wanted.server_host))
        conditions.append(claimed if wanted.server_host is None else sa.or_(claimed, there))
    return conditions


def _in_state(db: Database, wanted: Filter) -> sa.ColumnElement[bool]:
    """Rows that whoever looks sees in a state (`compute_shim.api.visibility.Viewer.view`).

    The same as a comparison with `seen_state`, in words that an index helps with.
    """
    really = _D.state == wanted.state
    if wanted.state == State.UNAVAILABLE:
        return sa.or_(really, _foreign(wanted), sa.and_(_D.state == State.AVAILABLE, _withheld(db, wanted)))
    if wanted.state == State.AVAILABLE:
        return sa.and_(really, sa.not_(_withheld(db, wanted)))
    return sa.and_(really, sa.not_(_foreign(wanted)))


def seen_state(db: Database, wanted: Filter) -> sa.ColumnElement[str]:
    """The state that whoever looks sees a row in: the order must not tell more than that."""
    withheld = sa.and_(_D.state == State.AVAILABLE, _withheld(db, wanted))
    return sa.case((sa.or_(_foreign(wanted), withheld), sa.literal(State.UNAVAILABLE.value)), else_=_D.state)


def _withheld(db: Database, wanted: Filter) -> sa.ColumnElement[bool]:
    """Rows that are available, but not for whoever looks."""
    # Neither operand is NULL, so that `not_` of this is true wherever this is false.
    held = sa.func.coalesce(handover.held(wanted.project_id), sa.false())
    return sa.or_(_host_down(db, wanted), held)


def _host_down(db: Database, wanted: Filter) -> sa.ColumnElement[bool]:
    """Rows of hosts whose agent is not up. These are few; a join would look at all hosts."""
    down = host_list.down(db, wanted.up)
    return _D.host.in_(down) if down else sa.false()


def _foreign(wanted: Filter) -> sa.ColumnElement[bool]:
    """Rows that another project has, for whoever may not see that."""
    if wanted.project_id is None:
        return sa.false()
    return sa.and_(_D.instance_uuid.is_not(None), _D.project_id != wanted.project_id)
