# SPDX-License-Identifier: Apache-2.0
"""What must be done with a device before another project may use it.

The rule that offers the device says what (`compute_shim.objects.Handover`); a project that had it last may
have it again, unless it is wiped.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from compute_shim import objects
from compute_shim.db import events, models, states
from compute_shim.db.api import Database, retried
from compute_shim.db.events import Actor
from compute_shim.objects import Handover, ReasonCode

_D = models.Device


def is_held(row: models.Device, project_id: str | None) -> bool:
    """Whether a device is held from a project until an administrator releases it.

    :param project_id: None: from whoever has not had it.
    """
    return row.handover == Handover.HOLD and row.last_project_id not in (None, project_id)


def held(project_id: str | None) -> sa.ColumnElement[bool]:
    """Rows of devices for which `is_held`."""
    others = _D.last_project_id.is_not(None) if project_id is None else _D.last_project_id != project_id
    return sa.and_(_D.handover == Handover.HOLD, others)


def open_to(project_id: Any, device: Any = _D) -> sa.ColumnElement[bool]:
    """Rows of devices that are not held from a project.

    :param project_id: its id, or a column that holds it.
    :param device: `models.Device`, or an alias of it.
    """
    return sa.or_(
        device.handover.is_distinct_from(Handover.HOLD),
        device.last_project_id.is_(None),
        device.last_project_id == project_id,
    )


@retried
def release(db: Database, device_id: str, actor: Actor | None = None) -> models.Device | None:
    """Make a free device that is held, or is to be wiped, available to everyone.

    :returns: the device after that; None if it is no such device
    """
    with db.writer() as session:
        row = session.get(_D, device_id, with_for_update=True)
        waits = row is not None and row.instance_uuid is None and row.last_project_id is not None
        if row is None or not waits or row.handover not in (Handover.HOLD, Handover.WIPE):
            return None
        states.forget_user(row)
        # What an agent that is wiping it tells from now on is of before.
        row.generation += 1
        states.derive_state(row)
        events.add(session, row, ReasonCode.RELEASED, actor)
        return row


def cause(outcome: objects.ClaimStatus) -> ReasonCode | None:
    """What an outcome says of a wipe, for the history; None if it is about something else."""
    return ReasonCode(outcome.reason_code) if outcome.reason_code in states.WIPES else None
