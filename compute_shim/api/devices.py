# SPDX-License-Identifier: Apache-2.0
"""Devices that a request names."""

from __future__ import annotations

from compute_shim import exception
from compute_shim.api import validation
from compute_shim.api.call import Call
from compute_shim.api.visibility import Viewer
from compute_shim.db import models, queries
from novaclient_usb.reason_codes import ReasonCode


def find(call: Call, device_id: str) -> models.Device:
    """A device that the caller may see.

    :raises compute_shim.exception.NotFound: there is none of that id, or it is not for the caller to see
    """
    known_id = validation.uuid(device_id)
    row = queries.device(call.service.db, known_id) if known_id else None
    if row is None or not Viewer.of(call).sees(row):
        raise no_device(device_id)
    return row


def no_device(device_id: str) -> exception.NotFound:
    """The one answer to whoever names a device that is not there, or not theirs to see."""
    return exception.NotFound(f"USB device {device_id} could not be found.", ReasonCode.DEVICE_NOT_FOUND)
