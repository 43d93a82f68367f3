# SPDX-License-Identifier: Apache-2.0
"""Attachments."""

from compute_shim.api.schemas import base
from compute_shim.api.schemas.devices import SORT_KEYS

LIST = base.listing({}, SORT_KEYS)

#: Exactly one of the two. The handler checks this, because the error of a schema would be unclear.
CREATE = base.wrapped(
    "attachment",
    base.strict(
        {
            "device_id": base.UUID,
            "kind": base.KIND,
            "lease": base.SECONDS,
            "transport": base.TRANSPORT,
        }
    ),
)

UPDATE = base.wrapped(
    "attachment",
    base.strict(
        {
            "lease": {
                "anyOf": [base.SECONDS, {"type": "null"}],
                "description": "a number of seconds, or null (no end)",
            }
        },
        required=["lease"],
    ),
)
