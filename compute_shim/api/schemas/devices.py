# SPDX-License-Identifier: Apache-2.0
"""Devices."""

from compute_shim.api.schemas import base
from compute_shim.objects import State

_HEXADECIMAL = {
    "type": "string",
    "pattern": r"^[0-9a-fA-F]{4}\Z",
    "description": "four hexadecimal digits",
}

LIST = base.strict(
    {
        "server_id": base.UUID,
        "host": base.TEXT,
        "state": {"enum": [state.value for state in State]},
        "vendor_id": _HEXADECIMAL,
        "product_id": _HEXADECIMAL,
        "limit": base.LIMIT,
        "marker": base.UUID,
    }
)

UPDATE = base.wrapped(
    "device",
    base.strict({"description": base.TEXT, "enabled": {"type": "boolean"}}, least=1),
)
