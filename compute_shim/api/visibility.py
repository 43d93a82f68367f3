# SPDX-License-Identifier: Apache-2.0
"""Visibility of devices.

A device that a server of another project has is shown as in use, without attributes that identify the device
or change while it is used. A device that its host's rules do not offer, or that is not shared with the
viewer's project, is hidden (`compute_shim.db.device_list.find`). Administrators (policy
``usb-passthrough:devices:see_all``) see all devices and attributes.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any

from compute_shim import nova
from compute_shim.api.call import Call
from compute_shim.db import handover, models, states
from compute_shim.objects import Reason, ReasonCode, State
from compute_shim.policies import devices as policies
from novaclient_usb.reason_codes import describe

_SHOWN = (
    "id",
    "name",
    "vendor_id",
    "product_id",
    "vendor",
    "product",
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
    """The caller for whom devices are shown.

    :param sees_all: whether the caller sees devices of other projects, and hosts.
    """

    project_id: str
    sees_all: bool

    @classmethod
    def of(cls, call: Call) -> Viewer:
        """The viewer that makes a call."""
        return cls(call.project_id, call.may(policies.SEE_ALL))

    @property
    def scope(self) -> str | None:
        """The project whose devices the viewer sees, None for all."""
        return None if self.sees_all else self.project_id

    def owns(self, row: models.Device) -> bool:
        """Whether the viewer may know which server has a device."""
        return self.sees_all or row.instance_uuid is None or row.project_id == self.project_id

    def view(
        self, row: models.Device, host_up: bool, projects: Sequence[str], server_host: str | None
    ) -> dict[str, Any]:
        """A device in JSON.

        :param host_up: whether its host's agent is.
        :param projects: with which it is shared by name.
        :param server_host: where its server has it over the network, None: it is not used so.
        """
        state, why = self.state(row, host_up)
        shown: dict[str, Any] = {
            **{name: getattr(row, name) for name in _SHOWN},
            "serial": "",
            "bus": None,
            "device": None,
            "state": state,
            **self.explained(why),
            "state_since": None,
            "available": state == State.AVAILABLE,
            "kind": row.kind,
            "over_network": bool(row.over_network),
            "used_over_network": False,
            "server_id": None,
            "lease_until": None,
            "host_id": nova.host_id(self.project_id, row.host),
            "created_at": utc(row.created_at),
            "updated_at": None,
        }
        if self.owns(row):
            shown |= {
                "serial": row.serial,
                # The numbers of a device that is unplugged may be those of another by now.
                "bus": row.bus if row.present else None,
                "device": row.device if row.present else None,
                "used_over_network": server_host is not None,
                "server_id": row.instance_uuid,
                "lease_until": None if row.lease_until is None else utc(row.lease_until),
                "state_since": utc(row.state_since or row.updated_at),
                "updated_at": utc(row.updated_at),
            }
        if self.sees_all:
            shown |= {
                "host": row.host,
                "server_host": server_host,
                "project_id": row.project_id,
                "generation": row.generation,
                "shared": bool(row.shared),
                "projects": list(projects),
                "sharing": row.sharing_by or "rule",
                "rule": row.rule,
                "handover": row.handover,
                "last_project_id": row.last_project_id,
            }
        return shown

    def state(self, row: models.Device, host_up: bool) -> tuple[str, Reason | None]:
        """The state of a device as the viewer sees it, and the reason for it."""
        if not self.owns(row):
            return State.UNAVAILABLE, Reason(ReasonCode.IN_USE)
        if row.state == State.AVAILABLE and not host_up:
            return State.UNAVAILABLE, Reason(ReasonCode.HOST_DOWN)
        if row.state == State.AVAILABLE and handover.is_held(row, self.scope):
            return State.UNAVAILABLE, Reason(ReasonCode.HELD)
        return row.state, states.reason(row)

    def explained(self, why: Reason | None) -> dict[str, Any]:
        """A reason in JSON: its details may name what is on the host, which is for administrators."""
        if why is None:
            return {"reason_code": None, "state_reason": None}
        return {"reason_code": why.code, "state_reason": why.text if self.sees_all else describe(why.code)}
