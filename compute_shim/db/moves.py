# SPDX-License-Identifier: Apache-2.0
"""Claims on one of a kind whose server seems to be on another host now.

The agents say so, one of which has a running domain of the server while that of the device's host has none;
or Nova has said that a server which does not run, or whose old host is down, is not on that host any more
(`compute_shim.conductor.decision`). Of claims that may be fulfilled over the network, `channels.pending`
tells. Before anything is released Nova has to confirm where the server is: an agent's word is not enough for
that.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from compute_shim.db import channels, handover, host_list, intent, lines, models
from compute_shim.db.api import Database
from compute_shim.liveness import Window
from compute_shim.objects import SERVER_ABSENT, ReasonCode, State

_D, _H, _I = models.Device, models.Host, models.Instance

# Nova has said so.
_LOCATED = (ReasonCode.SERVER_ON_OTHER_HOST, ReasonCode.KIND_NOT_FREE)


@dataclasses.dataclass(frozen=True)
class Move:
    """A claim, and the host where its server seems to be.

    :param may_be_replaced: by another device of the kind, which was free.
    :param may_be_carried: the server can have the same device there.
    """

    claim: models.Device
    host: str
    may_be_replaced: bool
    may_be_carried: bool = False


def pending(db: Database, up: Window) -> Sequence[Move]:
    """The claims of servers that seem to be on another host whose agent is up; the oldest claim first."""
    found = [*_local(db, up), *_over_network(db, up)]
    return sorted(found, key=lambda move: (move.claim.created_at, move.claim.id))


def _local(db: Database, up: Window) -> list[Move]:
    """The claims that only a device of the server's host can fulfil."""
    is_up = _H.last_seen.between(up.begin, up.end)
    is_there = sa.or_(_I.running.is_(True), _D.reason_code.in_(_LOCATED))
    statement = (
        sa.select(_D, _I.host)
        .join(_I, sa.and_(_I.instance_uuid == _D.instance_uuid, _I.host != _D.host))
        .join(_H, _H.host == _I.host)
        .where(
            _D.state == State.WAITING,
            _D.claimed_kind.is_not(None),
            _D.claimed_transport.is_(None),
            _D.reason_code.in_(SERVER_ABSENT),
            is_up,
            is_there,
        )
        # Until a resize is confirmed, two hosts have the server: it runs on one of them.
        .order_by(_I.running.desc(), _I.host)
    )
    found: dict[str, tuple[models.Device, str]] = {}
    with db.reader() as session:
        for claim, host in session.execute(statement):
            found.setdefault(claim.id, (claim, host))
        free = _with_free_device(session, found) if found else set()
    return [Move(claim, host, (claim.id, host) in free) for claim, host in found.values()]


def _with_free_device(session: orm.Session, claims: Collection[str]) -> set[tuple[str, str]]:
    """Claims, and hosts where a free device would fulfil them."""
    claim = orm.aliased(_D)
    statement = _free_devices(claim, _D.host).where(claim.id.in_(claims))
    return {(claim_id, host) for claim_id, host in session.execute(statement)}


def _over_network(db: Database, up: Window) -> list[Move]:
    """The claims that may be fulfilled over the network."""
    moved = channels.pending(db, up, of_kinds=True)
    by_host: dict[str, list[str]] = collections.defaultdict(list)
    for move in moved:
        by_host[move.server_host].append(move.claim.id)
    down = host_list.down(db, up) if moved else ()
    claim = orm.aliased(_D)
    free: set[str] = set()
    with db.reader() as session:
        for host, ids in by_host.items():
            usable = channels.usable(claim.claimed_transport, _D, host)
            statement = _free_devices(claim).where(claim.id.in_(ids), _D.host.not_in(down), usable)
            free.update(session.scalars(statement))
    return [Move(move.claim, move.server_host, move.claim.id in free, move.reachable) for move in moved]


def _free_devices(claim: Any, *columns: Any) -> sa.Select[Any]:
    """The ids of claims, and columns of the free devices that could take the place of each, on all hosts.

    :param claim: an alias of `models.Device`.
    """
    return (
        sa.select(claim.id, *columns)
        .join(_D, _D.kind == claim.claimed_kind)
        .where(
            *intent.free(None, None),
            lines.shared_with(claim.project_id),
            handover.open_to(claim.project_id),
        )
        .distinct()
    )
