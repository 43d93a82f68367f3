# SPDX-License-Identifier: Apache-2.0
"""The projects with which devices are shared.

Two say so: the rule of ``[usb] device_spec`` that offers a device, and operators, by the API. What an
operator says stands until it is reset; what the rule says is kept beside it. A device of which nobody has
said anything is the operators' alone.
"""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Callable, Collection, Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy import orm

from compute_shim import objects
from compute_shim.db import events, lines, models
from compute_shim.db.api import Database, retried
from compute_shim.db.events import Actor
from compute_shim.objects import Reason, ReasonCode

#: Who decides on a device: its rule, unless an operator does.
OPERATOR = "operator"

_D, _P = models.Device, models.DeviceProject


@dataclasses.dataclass(frozen=True)
class Sharing:
    """The sharing of a device.

    :param shared: with all projects.
    :param projects: ids of those with which it is shared in any case, in their order.
    """

    shared: bool = False
    projects: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """For operators."""
        if self.shared:
            return "shared with all projects"
        return f"shared with {', '.join(self.projects)}" if self.projects else "not shared"


def visible_to(project_id: str) -> sa.ColumnElement[bool]:
    """Rows of devices that are shared with a project."""
    return sa.or_(with_all(), by_name(project_id))


def with_all() -> sa.ColumnElement[bool]:
    """Rows of devices that are shared with all projects."""
    # MariaDB finds nothing in an index by IS.
    return _D.shared == sa.true()


def by_name(project_id: str) -> sa.ColumnElement[bool]:
    """Rows of devices that are shared with this project, whoever else."""
    return _D.id.in_(sa.select(_P.device_id).where(_P.project_id == project_id))


def projects(db: Database, rows: Collection[models.Device]) -> dict[str, list[str]]:
    """Device id -> ids of the projects with which it is shared by name, in their order."""
    by_name = [row.id for row in rows if row.sharing_by == OPERATOR or _of_rule(row).projects]
    if not by_name:
        return {}
    with db.reader() as session:
        return _projects(session, by_name)


def told(session: orm.Session, pairs: Iterable[tuple[models.Device, objects.Device]]) -> None:
    """Record what the rules of a host say of its devices.

    :param pairs: rows, which have their ids, and what the agent tells of them.
    """
    news = [(row, by_rule) for row, device in pairs if (by_rule := _news(row, device)) is not None]
    told_before = [row.id for row, _ in news if row.rule_sharing is not None]
    known = _projects(session, told_before) if told_before else {}
    for row, by_rule in news:
        row.rule_sharing = _text(by_rule)
        if row.sharing_by != OPERATOR:
            _put(session, row, known.get(row.id, ()), by_rule)


def _news(row: models.Device, device: objects.Device) -> Sharing | None:
    """What the rule of a device says, if that is not what it said last."""
    if device.shared is None:
        return None
    by_rule = Sharing(device.shared, tuple(sorted(set(device.projects or ()))))
    return None if row.rule_sharing == _text(by_rule) else by_rule


@retried
def add_project(
    db: Database, device_id: str, project_id: str, actor: Actor | None = None
) -> models.Device | None:
    """Share a device with a project; the device after that, None if there is none of that id."""
    return _change(db, device_id, actor, lambda now: sorted({*now, project_id}))


@retried
def remove_project(
    db: Database, device_id: str, project_id: str, actor: Actor | None = None
) -> models.Device | None:
    """Stop sharing a device with a project; as `add_project`."""
    return _change(db, device_id, actor, lambda now: [name for name in now if name != project_id])


def set_shared(session: orm.Session, row: models.Device, shared: bool | None, actor: Actor | None) -> None:
    """Share a device with all projects or not, as an operator says; None: as its rule says.

    :param row: which is locked.
    """
    before = _of(session, row)
    if shared is None:
        row.sharing_by = None
        now = _of_rule(row)
    else:
        row.sharing_by = OPERATOR
        now = dataclasses.replace(before, shared=shared)
    _put(session, row, before.projects, now)
    _record(session, row, before, now, actor)


def forget(session: orm.Session, rows: Iterable[models.Device]) -> None:
    """Devices are forgotten, and so is with whom they were shared, and who was in line for them."""
    ids = [row.id for row in rows]
    if ids:
        session.execute(sa.delete(_P).where(_P.device_id.in_(ids)))
        lines.end(session, [models.QueueEntry.device_id.in_(ids)], note=Reason(ReasonCode.FORGOTTEN))


def _change(
    db: Database,
    device_id: str,
    actor: Actor | None,
    names: Callable[[Sequence[str]], Iterable[str]],
) -> models.Device | None:
    with db.writer() as session:
        row = session.get(models.Device, device_id, with_for_update=True)
        if row is not None:
            before = _of(session, row)
            now = dataclasses.replace(before, projects=tuple(names(before.projects)))
            row.sharing_by = OPERATOR
            _put(session, row, before.projects, now)
            _record(session, row, before, now, actor)
        return row


def _record(
    session: orm.Session, row: models.Device, before: Sharing, now: Sharing, actor: Actor | None
) -> None:
    if now != before:
        change = Reason(ReasonCode.SHARING_CHANGED, now.text)
        events.add(session, row, ReasonCode.SHARING_CHANGED, actor, change)


def _of(session: orm.Session, row: models.Device) -> Sharing:
    """The current sharing of a device."""
    return Sharing(bool(row.shared), tuple(_projects(session, [row.id]).get(row.id, ())))


def _of_rule(row: models.Device) -> Sharing:
    """The sharing of a device by its rule."""
    if row.rule_sharing is None:
        return Sharing()
    shared, projects = json.loads(row.rule_sharing)
    return Sharing(shared, tuple(projects))


def _text(sharing: Sharing) -> str:
    return json.dumps([sharing.shared, sharing.projects])


def _put(session: orm.Session, row: models.Device, known: Iterable[str], sharing: Sharing) -> None:
    """Share a device.

    :param known: the projects with which it is shared now.
    """
    row.shared = sharing.shared
    ended, begun = set(known) - set(sharing.projects), set(sharing.projects) - set(known)
    if ended:
        session.execute(sa.delete(_P).where(_P.device_id == row.id, _P.project_id.in_(ended)))
    if begun:
        session.execute(sa.insert(_P), [{"device_id": row.id, "project_id": name} for name in sorted(begun)])


def _projects(session: orm.Session, device_ids: Collection[str]) -> dict[str, list[str]]:
    found = collections.defaultdict(list)
    statement = sa.select(_P.device_id, _P.project_id).where(_P.device_id.in_(device_ids))
    for device_id, project_id in session.execute(statement.order_by(_P.project_id)):
        found[device_id].append(project_id)
    return dict(found)
