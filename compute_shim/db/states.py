# SPDX-License-Identifier: Apache-2.0
"""The state machine of a device.

Each function works on one row, which the caller has locked.
"""

from __future__ import annotations

import dataclasses

from oslo_utils import timeutils

from compute_shim import legacy_reasons, objects, wire
from compute_shim.db import models
from compute_shim.objects import Handover, Reason, ReasonCode, State
from novaclient_usb.reason_codes import describe

#: A server has the device, or is about to.
CLAIMED = (State.ATTACHING, State.ATTACHED, State.WAITING, State.FAILED)

# States that need a reason.
_REASONED = (State.WAITING, State.DETACHING, State.FAILED, State.UNAVAILABLE)
# Of devices as they are told: what `compute_shim.db.recognition`, `sharing` and `kinds` look at.
_NO_COLUMNS = ("device_id", "guessed", "shared", "projects", "kind")
#: What an agent can say of a device that is to be wiped.
WIPES = (ReasonCode.WIPING, ReasonCode.WIPE_FAILED, ReasonCode.WIPED)
# What an agent can say about a claim with a server.
_OUTCOMES = (State.ATTACHED, State.WAITING, State.FAILED)


def plug(row: models.Device, device: objects.Device) -> None:
    """The agent sees the device."""
    if device.plug_id is not None and device.plug_id != row.plug_id:
        row.wiped = row.wipe_error = None
    if _model(row) != _model(device):
        # What is in the socket, which the claim was on, is not what the project had.
        forget_user(row)
    for field in wire.sent_fields(objects.Device):
        value = getattr(device, field.name)
        # In doubt, which device it is was not known; when it last was stays true.
        if field.name not in _NO_COLUMNS and (field.name, value) != ("plug_id", None):
            setattr(row, field.name, value)
    row.present = True
    derive_state(row)


def _model(device: models.Device | objects.Device) -> tuple[str, str, str]:
    return device.vendor_id, device.product_id, device.serial


def unplug(row: models.Device) -> None:
    """The agent does not see the device any more."""
    row.present = False
    derive_state(row)


def end_claim(row: models.Device) -> None:
    """End the claim on a device; `derive_state` then sets its state."""
    row.instance_uuid = row.project_id = row.user_id = row.claimed_kind = None
    row.lease_until = row.lease_warned = row.allocated = row.claimed_transport = None


def forget_user(row: models.Device) -> None:
    """Nothing of whoever had the device last is on it any more, or somebody has decided so."""
    row.last_project_id = row.last_plug_id = row.wiped = row.wipe_error = None


def waits_for_wipe(row: models.Device) -> bool:
    """Whether nobody may have a device before what is stored on it was overwritten."""
    return row.instance_uuid is None and row.last_project_id is not None and row.handover == Handover.WIPE


def is_to_be_wiped(row: models.Device) -> bool:
    """Whether the agent is to do that: only if there is no doubt that this is what the project had."""
    is_known = row.plug_id == row.last_plug_id or (bool(row.serial.strip()) and not row.serial_shared)
    return waits_for_wipe(row) and is_known


def derive_state(row: models.Device) -> None:
    """Derive the state of a device without a claim; the agent reports the state of a claim."""
    if row.instance_uuid is None:
        obstacle = _obstacle(row)
        put(row, State.AVAILABLE if obstacle is None else State.UNAVAILABLE, obstacle)


def put(row: models.Device, state: State | str, why: Reason | None = None) -> None:
    """Set the state of a device and the reason for it."""
    why = why if state in _REASONED else None
    if (row.state, reason(row)) != (state, why):
        row.state_since = timeutils.utcnow()
    row.state = state
    row.reason_code = None if why is None else why.code
    row.state_reason = None if why is None else why.text


def reason(row: models.Device) -> Reason | None:
    """Why a device is in its state.

    Not simply the columns: a program of RPC 1.0 that shares the database changes the text and leaves the code
    as it was.
    """
    if row.state not in _REASONED:
        return None
    if row.instance_uuid is None:
        return _obstacle(row)
    if row.state_reason is None:
        return None
    return stored_reason(_code(row, row.state_reason), row.state_reason)


def _code(row: models.Device, text: str) -> ReasonCode | str | None:
    """The code of a claim's reason, unless a program of RPC 1.0 has changed the text since it was stored."""
    stored = row.reason_code
    is_old_text = text != describe(stored) and not legacy_reasons.has_details(text)
    is_of_another_state = row.state == State.FAILED and stored in objects.SERVER_ABSENT
    if stored is None or is_old_text or is_of_another_state:
        return legacy_reasons.code_of(text, ReasonCode.HYPERVISOR_ERROR)
    return stored


def _obstacle(row: models.Device) -> Reason | None:
    """Why a device without a claim is not available, None if it is."""
    if not row.present:
        return Reason(ReasonCode.UNPLUGGED)
    if not row.enabled:
        return Reason(ReasonCode.DISABLED)
    if row.blocked_reason is None:
        return _wipe(row) if waits_for_wipe(row) else None
    code = row.blocked_code or legacy_reasons.code_of(row.blocked_reason, ReasonCode.HOST_USE)
    return stored_reason(code, row.blocked_reason)


def _wipe(row: models.Device) -> Reason:
    """How far a device is wiped."""
    if not is_to_be_wiped(row):
        return Reason(
            ReasonCode.WIPE_FAILED,
            "not wiped: it was plugged in anew, and no serial number tells whether it is the same device",
        )
    if row.wipe_error is not None:
        return Reason(ReasonCode.WIPE_FAILED, row.wipe_error)
    return Reason(ReasonCode.WIPING, f"{describe(ReasonCode.WIPING)}: {row.wiped or 0} %")


def stored_reason(code: str | None, text: str | None) -> Reason:
    """A reason as it is stored; a text that says no more than the code is no details."""
    plain = Reason(code or ReasonCode.HYPERVISOR_ERROR)
    has_details = bool(text) and text != plain.text and legacy_reasons.has_details(text)
    return dataclasses.replace(plain, details=text) if has_details else plain


def apply_status(row: models.Device, outcome: objects.ClaimStatus) -> bool:
    """Apply the status of a claim that the agent reports; False if it does not answer the claim."""
    if outcome.generation != row.generation:
        return False
    if is_outcome_of_claim(row, outcome):
        fulfil(row, outcome.state, told_reason(outcome))
        return True
    if is_to_be_wiped(row) and outcome.reason_code in WIPES:
        _wiped(row, outcome)
        return True
    if row.state == State.DETACHING and outcome.state == State.AVAILABLE:
        end_claim(row)
        derive_state(row)
        return True
    if row.state == State.DETACHING and outcome.state == State.DETACHING:
        put(row, State.DETACHING, told_reason(outcome))
        return True
    return False


def is_outcome_of_claim(row: models.Device, outcome: objects.ClaimStatus) -> bool:
    """Whether an outcome is one of a claim with a server, and the device has such a claim."""
    return row.state in CLAIMED and outcome.state in _OUTCOMES


def fulfil(row: models.Device, state: State | str, why: Reason | None) -> None:
    """Set the state of a claim with a server."""
    put(row, state, why)
    if state == State.ATTACHED:
        forget_user(row)
        row.last_project_id, row.last_plug_id = row.project_id, row.plug_id


def _wiped(row: models.Device, outcome: objects.ClaimStatus) -> None:
    """The agent says how far a device is wiped."""
    if outcome.reason_code == ReasonCode.WIPED:
        forget_user(row)
    else:
        failed = outcome.reason_code == ReasonCode.WIPE_FAILED
        row.wiped = min(outcome.wiped or 0, 100)
        row.wipe_error = (outcome.reason or describe(ReasonCode.WIPE_FAILED)) if failed else None
    derive_state(row)


def told_reason(outcome: objects.ClaimStatus) -> Reason | None:
    """The reason that an agent gave."""
    if outcome.reason_code is None:
        return None
    return stored_reason(outcome.reason_code, outcome.reason)


def claim_of(row: models.Device) -> objects.Claim:
    """The desired state, as sent to the agent."""
    why = reason(row)
    return objects.Claim(
        device_id=row.id,
        identity=row.identity,
        port=row.port,
        generation=row.generation,
        server_id=row.instance_uuid if row.state in CLAIMED else None,
        state=row.state,
        reason=None if why is None else why.text,
        reason_code=None if why is None else why.code,
        vendor_id=row.vendor_id,
        product_id=row.product_id,
        serial=row.serial,
        socket=row.socket,
        plug_id=row.plug_id,
        serial_shared=row.serial_shared,
        follow=row.follow,
        enabled=row.enabled,
        wiped=(row.wiped or 0) if is_to_be_wiped(row) else None,
    )
