# SPDX-License-Identifier: Apache-2.0
"""Who sees what of a device.

A device that a server of another project has looks merely unavailable; one that its host's rules do not
offer is not there. Whoever may see all (policy ``usb-passthrough:devices:see_all``) sees it as it is.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Container
from typing import Any

import sqlalchemy as sa

from compute_shim import nova
from compute_shim.api.call import Call
from compute_shim.db import models
from compute_shim.objects import NOT_ALLOWED, State
from compute_shim.policies import devices as policies

_IN_USE = "in use"
_AGENT_DOWN = "no USB agent is alive on its host"

_SHOWN = (
    "id",
    "name",
    "vendor_id",
    "product_id",
    "vendor",
    "product",
    "serial",
    "device_class",
    "speed",
    "port",
    "description",
    "enabled",
)


def utc(moment: datetime.datetime) -> str:
    """A time of the database as ISO 8601."""
    return f"{moment.isoformat(timespec='seconds')}Z"


@dataclasses.dataclass(frozen=True)
class Viewer:
    """Somebody who looks at devices.

    :param sees_all: devices of other projects as well, and hosts.
    """

    project_id: str
    sees_all: bool

    @classmethod
    def of(cls, call: Call) -> Viewer:
        """Whoever makes a call."""
        return cls(call.project_id, call.may(policies.SEE_ALL))

    def sees(self, row: models.Device) -> bool:
        """May the viewer know of a device?"""
        return self.sees_all or row.blocked_reason != NOT_ALLOWED or row.project_id == self.project_id

    def seen(self) -> list[sa.ColumnElement[bool]]:
        """The same, of rows in the database."""
        if self.sees_all:
            return []
        offered = models.Device.blocked_reason.is_distinct_from(NOT_ALLOWED)
        return [sa.or_(offered, models.Device.project_id == self.project_id)]

    def in_state(self, state: str) -> sa.ColumnElement[bool]:
        """Rows that the viewer sees in a state."""
        really = models.Device.state == state
        if self.sees_all:
            return really
        hidden = sa.and_(
            models.Device.instance_uuid.is_not(None), models.Device.project_id != self.project_id
        )
        if state == State.UNAVAILABLE:
            return sa.or_(really, hidden)
        return sa.and_(really, sa.not_(hidden))

    def view(self, row: models.Device, live_hosts: Container[str]) -> dict[str, Any]:
        """A device in JSON.

        :param live_hosts: where agents are alive.
        """
        state, reason = row.state, row.state_reason
        available = state == State.AVAILABLE and row.host in live_hosts
        if state == State.AVAILABLE and not available:
            reason = _AGENT_DOWN
        shown: dict[str, Any] = {
            **{name: getattr(row, name) for name in _SHOWN},
            # The numbers of a device that is unplugged may be those of another by now.
            "bus": row.bus if row.present else None,
            "device": row.device if row.present else None,
            "state": state,
            "state_reason": reason,
            "available": available,
            "server_id": row.instance_uuid,
            "host_id": nova.host_id(self.project_id, row.host),
            "created_at": utc(row.created_at),
            "updated_at": utc(row.updated_at),
        }
        if self.sees_all:
            shown |= {"host": row.host, "project_id": row.project_id}
        elif row.instance_uuid is not None and row.project_id != self.project_id:
            shown |= {"state": State.UNAVAILABLE, "state_reason": _IN_USE, "server_id": None}
        return shown
