# SPDX-License-Identifier: Apache-2.0
"""Events."""

from compute_shim.api.schemas import base

# Events that a program of RPC 1.2 has recorded have a number of 64 bits.
_ID = {
    "type": "string",
    "pattern": rf"{base.UUID['pattern']}|^[0-9]{{1,18}}\Z",
    "description": "an event ID",
}

_PAGES = {
    "since": base.TIME,
    "sort_key": {"enum": ["created_at"]},
    "sort_dir": base.SORT_DIR,
    "limit": base.LIMIT,
    "marker": _ID,
}

OF_DEVICE = base.strict(_PAGES)
LIST = base.strict({"device_id": base.UUID, "server_id": base.UUID, "project_id": base.TEXT, **_PAGES})
