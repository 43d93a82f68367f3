# SPDX-License-Identifier: Apache-2.0
"""Attachments."""

from compute_shim.api.schemas import base
from compute_shim.api.schemas.devices import SORT_KEYS

LIST = base.listing({}, SORT_KEYS)

_ONE_OF = {
    "minProperties": 1,
    "maxProperties": 1,
    "description": "an object with either device_id or kind",
}

CREATE = base.wrapped("attachment", base.strict({"device_id": base.UUID, "kind": base.KIND}) | _ONE_OF)
