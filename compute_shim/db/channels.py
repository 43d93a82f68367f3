# SPDX-License-Identifier: Apache-2.0
"""Channels: claims that are fulfilled over the network, for a server on another host than the device's.

A channel has two ends. The agent of the device's host runs the relay that has the device, and tells its TCP
port. The agent of the server's host is then told of the claim, too, and connects the server's domain. The
device is attached when both ends say so, for the same generation of the claim.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from compute_shim import objects
from compute_shim.db import events, models, states
from compute_shim.db.api import Database, retried
from compute_shim.liveness import Window
from compute_shim.objects import Reason, ReasonCode, State

_C, _D, _H, _I = models.Channel, models.Device, models.Host, models.Instance

#: How a claim may be fulfilled over the network; None in the database: not at all.
TRANSPORTS = ("network", "any")

# What an end that has nothing to complain about waits for.
_IN_PROGRESS = Reason(ReasonCode.CHANNEL_CONNECTING)


class End(enum.StrEnum):
    """The ends, as the columns are named."""

    DEVICE = "device"
    SERVER = "server"


# Of `syncs.unchanged`; none has the name of a column of a device that it reads.
COLUMNS = (
    _C.told_generation,
    _C.relay_port,
    _C.device_state,
    _C.device_code,
    _C.device_reason,
    _C.server_state,
    _C.server_code,
    _C.server_reason,
    _H.host,
    _H.relay_address,
)


def claims(session: orm.Session, host: str, rows: Iterable[models.Device]) -> list[objects.Claim]:
    """What is wanted of each device of a host, and of devices of other hosts for servers on it.

    :param rows: all known devices of the host.
    """
    of_devices = sa.select(_C, _H).outerjoin(_H, _H.host == _C.server_host).where(_C.device_host == host)
    channels = {channel.device_id: (channel, peer) for channel, peer in session.execute(of_devices)}
    found = [device_end(row, *channels.get(row.id, (None, None))) for row in rows]
    of_servers = (
        sa.select(_D, _C, _H)
        .join(_C, _C.device_id == _D.id)
        .outerjoin(_H, _H.host == _C.device_host)
        .where(_C.server_host == host)
    )
    return found + [server_end(row, channel, owner) for row, channel, owner in session.execute(of_servers)]


def of_rows(own: Iterable[Any], of_devices: Iterable[Any], of_servers: Iterable[Any]) -> list[objects.Claim]:
    """As `claims`, from rows that have what is read of a device, and, of the last two, `COLUMNS`.

    :param own: all known devices of the host.
    :param of_devices: of these, those that have a channel.
    :param of_servers: the devices of other hosts.
    """
    channels = {row.id: row for row in of_devices}
    found = [device_end(row, channels.get(row.id), channels.get(row.id)) for row in own]
    return found + [server_end(row, row, row) for row in of_servers]


def device_end(row: Any, channel: Any = None, peer: Any = None) -> objects.Claim:
    """What is wanted of a device, for the agent of its host.

    :param row: `models.Device`, or its columns; likewise those that follow.
    :param channel: over which the claim is fulfilled, None: on its own host.
    :param peer: the host of the server, None if it is not known any more.
    """
    claim = states.claim_of(row)
    if channel is None or claim.server_id is None:
        return claim
    return _as_told(dataclasses.replace(claim, peer=_name(peer)), row, channel, End.DEVICE)


def server_end(row: Any, channel: Any, owner: Any) -> objects.Claim:
    """What is wanted of a device of another host, for the agent of the server's host.

    :param owner: the device's host, None if it is not known any more.
    """
    claim = states.claim_of(row)
    is_current = channel.told_generation == row.generation and channel.relay_port is not None
    address = ""
    if owner is not None and owner.relay_address and is_current:
        shown = f"[{owner.relay_address}]" if ":" in owner.relay_address else owner.relay_address
        address = f"{shown}:{channel.relay_port}"
    if claim.server_id is None:
        return dataclasses.replace(claim, address=address)
    told = dataclasses.replace(claim, address=address, peer=_name(owner))
    return _as_told(told, row, channel, End.SERVER)


def _name(host: Any) -> str:
    """The name in the certificate of a host; empty if it takes no part in the network transport.

    It is the name that Nova knows, and none that an agent tells: every compute host can send messages as
    another one, and must not be let in for that.
    """
    return host.host if host is not None and host.relay_address else ""


def _as_told(claim: objects.Claim, row: Any, channel: Any, end: End) -> objects.Claim:
    """The claim with what the end has told of it, so that it tells what differs."""
    state, why = _end(row, channel, end)
    return dataclasses.replace(
        claim,
        state=state or State.ATTACHING,
        reason=None if why is None else why.text,
        reason_code=None if why is None else why.code,
    )


def _end(row: Any, channel: Any, end: End) -> tuple[str | None, Reason | None]:
    """What an end has told of the claim as it is now."""
    if channel.told_generation != row.generation:
        return None, None
    state, code, text = (getattr(channel, f"{end}_{name}") for name in ("state", "code", "reason"))
    return state, None if code is None else states.stored_reason(code, text)


# What changes channels. The caller has locked the row of the device.


def open_to(session: orm.Session, row: models.Device, server_host: str) -> None:
    """Have the claim on a device fulfilled on another host from now on."""
    close(session, [row.id])
    session.add(
        _C(device_id=row.id, device_host=row.host, server_host=server_host, told_generation=row.generation)
    )


def close(session: orm.Session, device_ids: Collection[str]) -> None:
    """End the channels of devices, if they have any."""
    session.execute(sa.delete(_C).where(_C.device_id.in_(device_ids)))


def of(session: orm.Session, device_ids: Collection[str]) -> dict[str, models.Channel]:
    """Device id -> its channel, for devices that have one."""
    statement = sa.select(_C).where(_C.device_id.in_(device_ids))
    return {channel.device_id: channel for channel in session.scalars(statement)}


def server_hosts(db: Database, device_ids: Collection[str]) -> dict[str, str]:
    """Device id -> the host on which a server has it, for those devices that are used over the network."""
    if not device_ids:
        return {}
    statement = sa.select(_C.device_id, _C.server_host).where(_C.device_id.in_(device_ids))
    with db.reader() as session:
        return {row.device_id: row.server_host for row in session.execute(statement)}


def carried(device: Any, host: Any) -> sa.ColumnElement[bool]:
    """Devices that servers on a host can have over the network: the rule allows it, and both hosts take part.

    :param device: `models.Device`, or an alias of it.
    :param host: its name, or a column that holds it.
    """
    return sa.and_(device.over_network.is_(True), _takes_part(device.host), _takes_part(host))


def _takes_part(host: Any) -> sa.ColumnElement[bool]:
    of_host = orm.aliased(_H)
    return (
        sa.exists().where(of_host.host == host, of_host.relay_address.is_not(None)).correlate_except(of_host)
    )


def usable(transport: Any, device: Any, host: Any) -> sa.ColumnElement[bool]:
    """Devices that servers on a host can have by the transport that was asked for; else as `carried`.

    :param transport: a column that holds it, or a literal: one of `TRANSPORTS`; NULL: on the own host only.
    """
    here = sa.and_(device.host == host, transport.is_distinct_from("network"))
    return sa.or_(here, sa.and_(transport.is_not(None), carried(device, host)))


def relay_hosts(db: Database, names: Collection[str]) -> Mapping[str, models.Host]:
    """Those of some hosts that take part in the network transport, by name."""
    statement = sa.select(_H).where(_H.host.in_(names), _H.relay_address.is_not(None))
    with db.reader() as session:
        return {host.host: host for host in session.scalars(statement)}


def apply_status(row: models.Device, channel: models.Channel, end: End, outcome: objects.ClaimStatus) -> bool:
    """Apply what one end tells of a claim; False if it does not answer the claim."""
    if outcome.generation != row.generation or not states.is_outcome_of_claim(row, outcome):
        return False
    if channel.told_generation != row.generation:
        channel.told_generation = row.generation
        channel.relay_port = None
        for other in End:
            _tell(channel, other, None, None)
    why = None if outcome.state == State.ATTACHED else states.told_reason(outcome)
    _tell(channel, end, outcome.state, why)
    if end is End.DEVICE:
        channel.relay_port = outcome.port
    states.fulfil(row, *_both(row, channel))
    return True


def _tell(channel: models.Channel, end: End, state: str | None, why: Reason | None) -> None:
    values = (state, None if why is None else why.code, None if why is None else why.text)
    for name, value in zip(("state", "code", "reason"), values, strict=True):
        setattr(channel, f"{end}_{name}", value)


def _both(row: models.Device, channel: models.Channel) -> tuple[State | str, Reason | None]:
    """The state of a claim, by what both ends say: the first that says more than that it is waiting."""
    ends = [_end(row, channel, end) for end in End]
    if all(state == State.ATTACHED for state, _ in ends):
        return State.ATTACHED, None
    for state, why in ends:
        if state is not None and why is not None and why.code != _IN_PROGRESS.code:
            return state, why
    # A claim that was never fulfilled is not reported as one that has been interrupted.
    return (State.ATTACHING, None) if row.state == State.ATTACHING else (State.WAITING, _IN_PROGRESS)


# Which claims are to be fulfilled where.


@dataclasses.dataclass(frozen=True)
class Move:
    """A claim that may be fulfilled over the network, and whose server runs on another host than it did.

    :param server_host: where the server seems to run now.
    :param reachable: it is on the device's host, or can have the device over the network now.
    """

    claim: models.Device
    server_host: str
    reachable: bool


def pending(db: Database, up: Window, *, of_kinds: bool) -> Sequence[Move]:
    """The claims that have to be fulfilled on another host than they are; the oldest claim first.

    While a server migrates, two hosts have it: it has moved when the first one has it no more, or is down.

    :param of_kinds: those on one of a kind, also where the agent of the device's host is down; False: the
        others.
    """
    fulfilled_on = sa.func.coalesce(_C.server_host, _D.host)
    there, own = orm.aliased(models.Host), orm.aliased(models.Host)
    runs = sa.and_(_I.instance_uuid == _D.instance_uuid, _I.running.is_(True))
    is_up = sa.and_(_H.host == _I.host, _H.last_seen.between(up.begin, up.end))
    own_up = own.last_seen.between(up.begin, up.end)
    which = _D.claimed_kind.is_not(None) if of_kinds else sa.and_(_D.claimed_kind.is_(None), own_up)
    still = sa.exists().where(runs, _I.host == fulfilled_on, is_up).correlate(_D, _C)
    now = orm.aliased(_I)
    reachable = sa.or_(_D.host == now.host, sa.and_(own_up, carried(_D, now.host)))
    statement = (
        sa.select(_D, now.host, reachable)
        .outerjoin(_C, _C.device_id == _D.id)
        .join(now, sa.and_(now.instance_uuid == _D.instance_uuid, now.running.is_(True)))
        .join(there, there.host == now.host)
        .join(own, own.host == _D.host)
        .where(
            _D.claimed_transport.in_(TRANSPORTS),
            _D.state.in_(states.CLAIMED),
            now.host != fulfilled_on,
            there.last_seen.between(up.begin, up.end),
            which,
            sa.not_(still),
        )
        .order_by(_D.created_at, _D.id, now.host)
    )
    found: dict[str, Move] = {}
    with db.reader() as session:
        for claim, host, is_reachable in session.execute(statement):
            found.setdefault(claim.id, Move(claim, host, bool(is_reachable)))
    return list(found.values())


@retried
def follow(db: Database, claim: models.Device, server_host: str) -> bool:
    """Fulfil a claim where its server is now; False if the claim has changed meanwhile.

    :param claim: as it was when that was found out.
    """
    with db.writer() as session:
        row = session.get(_D, claim.id, with_for_update=True)
        if row is None or row.generation != claim.generation or row.state not in states.CLAIMED:
            return False
        before = events.Snapshot.of(row)
        row.generation += 1
        if server_host == row.host:
            close(session, [row.id])
        else:
            open_to(session, row, server_host)
        states.put(row, State.ATTACHING)
        events.record(session, row, before, ReasonCode.SERVER_MOVED)
        return True
