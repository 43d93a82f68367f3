# SPDX-License-Identifier: Apache-2.0
"""Store syncs: detect repetitions of the last one, and write what has changed.

Agents sync every few seconds, so that nearly all of what the database does at rest is here.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import uuid
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from oslo_utils import timeutils
from sqlalchemy import orm

from compute_shim import objects
from compute_shim.db import channels, kinds, models, recognition, sharing, states
from compute_shim.db.api import Database, retried

# More rows than a host can have devices plugged in (127 on a bus: USB 2.0 specification, 9.4.6). A device
# that shows another serial at every plug must not fill the database.
_ROWS_PER_HOST = 512
# Nor must two that show another serial number, the same on both, at every plug.
_SHARED_SERIALS_PER_HOST = 4096

# Both statements are made once, with parameters: to make them, and to match their columns with those of a
# statement that was compiled earlier, takes a quarter of the time of a repeated sync.
_REPEATED = (
    sa.update(models.Host)
    .where(
        models.Host.host == sa.bindparam("of_host"),
        models.Host.digest == sa.bindparam("of_digest"),
        models.Host.last_seen == models.Host.digested_at,
    )
    .values(last_seen=sa.bindparam("now"), digested_at=sa.bindparam("now"))
)
# What `compute_shim.db.states.claim_of` reads of a device.
_CLAIM_COLUMNS = (
    models.Device.id,
    models.Device.identity,
    models.Device.port,
    models.Device.generation,
    models.Device.instance_uuid,
    models.Device.state,
    models.Device.reason_code,
    models.Device.state_reason,
    models.Device.present,
    models.Device.enabled,
    models.Device.blocked_reason,
    models.Device.blocked_code,
    models.Device.vendor_id,
    models.Device.product_id,
    models.Device.serial,
    models.Device.socket,
    models.Device.plug_id,
    models.Device.serial_shared,
    models.Device.follow,
    models.Device.handover,
    models.Device.last_project_id,
    models.Device.last_plug_id,
    models.Device.wiped,
    models.Device.wipe_error,
)
_OF_HOST: sa.BindParameter[str] = sa.bindparam("of_host")
# The devices of the host; and, of the few that are used over the network, those of this host and those that
# servers on this host have.
_CLAIMS = sa.union_all(
    sa.select(
        sa.literal_column("0", sa.Integer).label("half"),
        *_CLAIM_COLUMNS,
        *(sa.cast(sa.null(), column.type).label(column.name) for column in channels.COLUMNS),
    ).where(models.Device.host == _OF_HOST),
    *(
        sa.select(sa.literal_column(half, sa.Integer).label("half"), *_CLAIM_COLUMNS, *channels.COLUMNS)
        .select_from(models.Channel)
        .join(models.Device, models.Device.id == models.Channel.device_id)
        .outerjoin(models.Host, models.Host.host == peer)
        .where(own == _OF_HOST)
        for half, own, peer in (
            ("1", models.Channel.device_host, models.Channel.server_host),
            ("2", models.Channel.server_host, models.Channel.device_host),
        )
    ),
)


@retried
def unchanged(db: Database, host: str, digest: str, plugged: int) -> list[objects.Claim] | None:
    """Record that a host repeats its last report: one UPDATE and one SELECT.

    Nobody but syncs changes what they write of a device that is plugged in. That all these devices are
    recorded as such is checked nevertheless, because rows may be deleted by hand.

    :param digest: of all that the agent tells.
    :param plugged: how many devices it tells of.
    :returns: what is wanted of every known device of the host; None if it told something else last, or a
        conductor of RPC 1.0 has changed the rows since
    """
    repeated = {"of_host": host, "of_digest": digest, "now": timeutils.utcnow()}
    with db.writer() as session:
        connection = session.connection()
        if connection.execute(_REPEATED, repeated).rowcount != 1:
            return None
        rows: Sequence[Any] = connection.execute(_CLAIMS, {"of_host": host}).all()
    own = [row for row in rows if row.half == 0]
    if sum(row.present for row in own) != plugged:
        return None
    return channels.of_rows(
        own, [row for row in rows if row.half == 1], [row for row in rows if row.half == 2]
    )


def record_host(session: orm.Session, host: str, **values: Any) -> bool:
    """Write the row of a host; returns whether it is a new one.

    That comes before all else in a transaction, so that two syncs of one host come one after the other.
    """
    now = timeutils.utcnow()
    values |= {"last_seen": now, "digested_at": now}
    connection = session.connection()
    known = sa.update(models.Host).where(models.Host.host == host).values(**values)
    is_new = connection.execute(known).rowcount == 0
    if is_new:
        connection.execute(sa.insert(models.Host).values(host=host, **values))
    return is_new


def record_problems(session: orm.Session, host: str, problems: Sequence[str]) -> list[str]:
    """Store the problems of a host, after `record_host`; returns those that it did not have before."""
    of_host = models.Host.host == host
    # A locking read: another one may see the row as it was when the transaction began.
    known = session.scalar(sa.select(models.Host.problems).where(of_host).with_for_update()) or ""
    told = "\n".join(problems)
    if told != known:
        session.execute(sa.update(models.Host).where(of_host).values(problems=told))
    return [problem for problem in problems if problem not in known.splitlines()]


def record_devices(
    session: orm.Session, host: str, rows: Sequence[models.Device], devices: Iterable[objects.Device]
) -> list[models.Device]:
    """Store which devices are plugged in.

    :param rows: all known devices of the host.
    :returns: these and the new ones
    """
    told = list(devices)
    shared = _shared_serials(session, host, told)
    told = [
        dataclasses.replace(device, serial_shared=recognition.model(device) in shared or None)
        for device in told
    ]
    for row in rows:
        row.serial_shared = recognition.model(row) in shared or None
    found = recognition.recognize(rows, told)
    used = {row.identity for row in rows}
    absent = {row.id: row for row in rows if row.id not in found.open}
    new, pairs = [], []
    for device, known in found.pairs:
        row = models.Device(id=str(uuid.uuid4()), host=host, enabled=True) if known is None else known
        absent.pop(row.id, None)
        states.plug(row, dataclasses.replace(device, identity=_identity(device, known, used)))
        kinds.told(row, device)
        used.add(row.identity)
        pairs.append((row, device))
        if known is None:
            new.append(row)
    for row in absent.values():
        states.unplug(row)
    # Before the rows are written, so that each is written once.
    sharing.told(session, pairs)
    session.add_all(new)
    session.flush()
    return [*rows, *new]


def _identity(device: objects.Device, row: models.Device | None, used: set[str]) -> str:
    """One that no other row has, nor had a moment ago: no two may be the same at any time.

    It only labels the row: a row is found by what its device is and where.
    """
    key = recognition.key_of(device)
    if key not in used:
        return key
    if row is not None:
        return row.identity
    return next(label for number in itertools.count(2) if (label := f"{key}~{number}") not in used)


def _shared_serials(
    session: orm.Session, host: str, devices: Collection[objects.Device]
) -> set[recognition.Model]:
    """What was ever seen on two devices of the host at once; what is seen now is added."""
    columns = (models.SharedSerial.vendor_id, models.SharedSerial.product_id, models.SharedSerial.serial)
    statement = sa.select(*columns).where(models.SharedSerial.host == host)
    known = {(vendor, product, serial) for vendor, product, serial in session.execute(statement)}
    count = collections.Counter(map(recognition.model, devices))
    seen = {item for item, number in count.items() if number > 1}
    seen |= {recognition.model(device) for device in devices if device.serial_shared}
    seen = {item for item in seen if item[2]}
    for vendor_id, product_id, serial in sorted(seen - known)[: _SHARED_SERIALS_PER_HOST - len(known)]:
        session.add(models.SharedSerial(host=host, vendor_id=vendor_id, product_id=product_id, serial=serial))
    return known | seen


def surplus(rows: Sequence[models.Device]) -> list[models.Device]:
    """The rows above the limit: the oldest that are neither plugged in, claimed nor disabled."""
    idle = [row for row in rows if not row.present and row.instance_uuid is None and row.enabled]
    idle.sort(key=lambda row: row.created_at)
    return idle[: max(0, len(rows) - _ROWS_PER_HOST)]
