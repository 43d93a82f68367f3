# SPDX-License-Identifier: Apache-2.0
"""Events."""

from compute_shim.api.schemas import base

# An event's id is a number of 64 bits.
_ID = {"type": "string", "pattern": r"^[0-9]{1,18}\Z", "description": "the id of an event"}

_PAGES = {
    "since": base.TIME,
    "sort_key": {"enum": ["created_at"]},
    "sort_dir": base.SORT_DIR,
    "limit": base.LIMIT,
    "marker": _ID,
}

OF_DEVICE = base.strict(_PAGES)
LIST = base.strict({"device_id": base.UUID, "server_id": base.UUID, "project_id": base.TEXT, **_PAGES})
