# SPDX-License-Identifier: Apache-2.0
"""The rules by which a device changes its state.

They work on one row at a time, which the caller has locked.
"""

from __future__ import annotations

import dataclasses

from compute_shim import objects
from compute_shim.db import models
from compute_shim.objects import State, Waiting

DISABLED = "disabled by the operator"

#: A server has the device, or is about to.
CLAIMED = (State.ATTACHING, State.ATTACHED, State.WAITING, State.FAILED)

# What an agent can say about a claim with a server.
_OUTCOMES = (State.ATTACHED, State.WAITING, State.FAILED)


def plug(row: models.Device, device: objects.Device) -> None:
    """The agent sees the device."""
    for field, value in dataclasses.asdict(device).items():
        setattr(row, field, value)
    row.present = True
    settle(row)


def unplug(row: models.Device) -> None:
    """The agent does not see the device any more."""
    row.present = False
    settle(row)


def settle(row: models.Device) -> None:
    """Work out the state of a device that no server has; what becomes of a claim is the agent's to say."""
    if row.instance_uuid is not None:
        return
    if not row.present:
        obstacle: str | None = Waiting.UNPLUGGED
    elif not row.enabled:
        obstacle = DISABLED
    else:
        obstacle = row.blocked_reason
    row.state = State.AVAILABLE if obstacle is None else State.UNAVAILABLE
    row.state_reason = obstacle


def judge(row: models.Device, outcome: objects.Outcome) -> bool:
    """The agent says what became of a claim; False if that is not, or no longer, an answer to it."""
    if outcome.generation != row.generation:
        return False
    if row.state in CLAIMED and outcome.state in _OUTCOMES:
        row.state, row.state_reason = outcome.state, outcome.reason
        return True
    if row.state == State.DETACHING and outcome.state == State.AVAILABLE:
        row.instance_uuid = row.project_id = None
        settle(row)
        return True
    if row.state == State.DETACHING and outcome.state == State.DETACHING:
        row.state_reason = outcome.reason
        return True
    return False


def claim_of(row: models.Device) -> objects.Claim:
    """What the agent is to make true."""
    return objects.Claim(
        device_id=row.id,
        identity=row.identity,
        port=row.port,
        generation=row.generation,
        server_id=row.instance_uuid if row.state in CLAIMED else None,
        state=row.state,
        reason=row.state_reason,
    )
