# SPDX-License-Identifier: Apache-2.0
"""What is offered to Nova's scheduler, and the claims that come of its allocations.

An allocation is a number of devices of a resource class, which is that of one or more kinds.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa

from compute_shim import nova
from compute_shim.db import events, handover, intent, models, states, usage
from compute_shim.db.api import Database, retried
from compute_shim.db.events import Actor
from compute_shim.objects import Handover, Reason, ReasonCode

_D, _P = models.Device, models.DeviceProject


@dataclasses.dataclass
class Offer:
    """The devices of a kind on a host.

    :ivar total: those that can be attached to a server, or are.
    :ivar reserved: those of them that were claimed otherwise than by an allocation.
    :ivar free: those of them that nobody has claimed.
    :ivar models: ``vid:pid`` of all.
    """

    total: int = 0
    reserved: int = 0
    free: int = 0
    models: set[str] = dataclasses.field(default_factory=set)


def offers(db: Database, hosts_up: Collection[str]) -> Mapping[str, Mapping[str, Offer]]:
    """Host -> kind -> what is offered.

    :param hosts_up: where the agent is up; on other hosts no device is free.
    """
    is_shared = sa.or_(_D.shared.is_(True), sa.exists().where(_P.device_id == _D.id))
    is_free = sa.and_(
        *intent.free(None, None),
        is_shared,
        # Such a device is for the project alone that had it last.
        sa.or_(_D.handover.is_distinct_from(Handover.HOLD), _D.last_project_id.is_(None)),
    )
    is_allocated = sa.and_(_D.allocated.is_(True), _D.state.in_(states.CLAIMED))
    kind = sa.case((is_allocated, _D.claimed_kind), else_=_D.kind)
    statement = sa.select(
        _D.host, kind, _D.instance_uuid, is_allocated, _D.vendor_id, _D.product_id, is_free
    ).where(kind.is_not(None), sa.or_(_D.instance_uuid.is_not(None), is_free))
    found: dict[str, dict[str, Offer]] = collections.defaultdict(lambda: collections.defaultdict(Offer))
    with db.reader() as session:
        for host, name, server_id, allocated, vendor_id, product_id, free in session.execute(statement):
            if free and host not in hosts_up:
                continue
            offer = found[host][name]
            offer.total += 1
            offer.reserved += 1 if server_id is not None and not allocated else 0
            offer.free += 1 if free else 0
            offer.models.add(f"{vendor_id}:{product_id}")
    return found


def claims(db: Database) -> Sequence[models.Device]:
    """All claims that are from an allocation; the oldest first."""
    statement = sa.select(_D).where(_D.allocated.is_(True), _D.state.in_(states.CLAIMED))
    with db.reader() as session:
        return session.scalars(statement.order_by(_D.state_since, _D.id)).all()


@retried
def claim(
    db: Database, server: nova.Server, host: str, kinds: Collection[str], number: int, actor: Actor
) -> str | None:
    """Claim one more free device for a server.

    :param kinds: of any of these.
    :param number: so many the server is to have by its allocation.
    :returns: its id; None if none is free that is shared with the server's project, if the server has as many
        already, or if it has no free USB port
    """
    own = (_D.instance_uuid == server.id, _D.allocated.is_(True), _D.claimed_kind.in_(kinds))
    candidates = sa.select(_D.id, _D.kind).where(
        _D.host == host,
        _D.kind.in_(kinds),
        *intent.free(None, server.project_id),
        handover.open_to(server.project_id),
    )
    try:
        with db.writer() as session:
            # So that two conductors do not both do it.
            usage.lock(session, server.project_id)
            has = session.scalar(
                sa.select(sa.func.count()).select_from(_D).where(*own, _D.state.in_(states.CLAIMED))
            )
            if (has or 0) >= number:
                return None
            for device_id, kind in session.execute(candidates.order_by(_D.created_at, _D.id)).all():
                taken = intent.take(
                    session,
                    device_id,
                    server.id,
                    server.project_id,
                    actor,
                    cause=ReasonCode.ALLOCATED,
                    kind=kind,
                    allocated=True,
                )
                if taken:
                    return str(device_id)
    except usage.OverLimit:
        pass
    return None


@retried
def release(db: Database, claim: models.Device) -> bool:
    """Release the device of a claim whose allocation has ended; False if the claim has changed since."""
    with db.writer() as session:
        row = session.get(_D, claim.id, with_for_update=True)
        if row is None or row.generation != claim.generation or row.state not in states.CLAIMED:
            return False
        intent.begin_release(session, row, ReasonCode.ALLOCATION_ENDED)
        return True


@retried
def record_unfulfilled(db: Database, host: str, text: str) -> None:
    """Add to the history of a host that an allocation is not fulfilled, and why."""
    code = ReasonCode.ALLOCATION_UNFULFILLED
    with db.writer() as session:
        events.add_of_host(session, host, code, note=Reason(code, text))


@retried
def forget(db: Database, besides: Collection[str]) -> None:
    """Treat claims from allocations as made by hand from now on.

    :param besides: hosts where they stay what they are.
    """
    statement = sa.update(_D).where(_D.allocated.is_(True), _D.host.not_in(besides)).values(allocated=None)
    with db.writer() as session:
        session.execute(statement)
