# SPDX-License-Identifier: Apache-2.0
"""Which devices the servers in line (`compute_shim.db.queue`) could have, as SQL."""

from __future__ import annotations

import sqlalchemy as sa

from compute_shim.db import models

_D, _I, _P, _Q = models.Device, models.Instance, models.DeviceProject, models.QueueEntry


def fits() -> sa.ColumnElement[bool]:
    """An entry and a device that it could be served with, limits of the project aside.

    Its server is on the device's host, and its project may have the device.
    """
    shared_with = sa.exists().where(_P.device_id == _D.id, _P.project_id == _Q.project_id)
    return sa.and_(
        sa.or_(_Q.device_id == _D.id, _Q.kind == _D.kind),
        sa.exists().where(_I.instance_uuid == _Q.server_id, _I.host == _D.host),
        sa.or_(_D.shared.is_(True), shared_with),
    )


def wanted(besides: str | None = None) -> sa.ColumnElement[bool]:
    """Rows of devices for which a server is in line that could have them.

    :param besides: another one than this.
    """
    others = sa.true() if besides is None else _Q.server_id != besides
    return sa.exists().where(fits(), others)
