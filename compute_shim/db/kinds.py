# SPDX-License-Identifier: Apache-2.0
"""Kinds: which devices are interchangeable.

As with sharing (`compute_shim.db.sharing`), the rule of ``[usb] device_spec`` that offers a device says so,
or an operator by the API, whose word stands until it is reset.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy import orm

from compute_shim import objects
from compute_shim.db import device_list, events, models
from compute_shim.db.api import Database
from compute_shim.db.events import Actor
from compute_shim.objects import Reason, ReasonCode, State

#: Who decides on a device: its rule, unless an operator does.
OPERATOR = "operator"

_D = models.Device


def told(row: models.Device, device: objects.Device) -> None:
    """Record what the rule of a device says."""
    if device.kind is not None:
        row.rule_kind = device.kind or None
        if row.kind_by != OPERATOR:
            row.kind = row.rule_kind


def set_kind(session: orm.Session, row: models.Device, kind: str | None, actor: Actor | None) -> None:
    """Give a device a kind, as an operator says.

    :param row: which is locked.
    :param kind: empty: none; None: as the device's rule says.
    """
    before = row.kind
    row.kind_by = None if kind is None else OPERATOR
    row.kind = row.rule_kind if kind is None else kind or None
    if row.kind != before:
        change = Reason(ReasonCode.KIND_CHANGED, f'kind "{before or ""}" -> "{row.kind or ""}"')
        events.add(session, row, ReasonCode.KIND_CHANGED, actor, change)


def free(db: Database, wanted: device_list.Filter) -> Mapping[str, Mapping[str, int]]:
    """Kind -> host -> how many devices of it are free there, of all that fit the filter.

    A kind of which none is free has no hosts.
    """
    is_free = sa.case((device_list.seen_state(db, wanted) == State.AVAILABLE, 1), else_=0)
    statement = (
        sa.select(_D.kind, _D.host, sa.func.sum(is_free))
        .where(_D.kind.is_not(None), *device_list.conditions(db, wanted))
        .group_by(_D.kind, _D.host)
    )
    found: dict[str, dict[str, int]] = collections.defaultdict(dict)
    with db.reader() as session:
        for kind, host, count in session.execute(statement):
            found[kind].update({host: int(count)} if count else {})
    return found
