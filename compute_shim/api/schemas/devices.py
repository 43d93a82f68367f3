# SPDX-License-Identifier: Apache-2.0
"""Devices."""

from compute_shim.api.schemas import base
from compute_shim.objects import State

_HEXADECIMAL = {
    "type": "string",
    "pattern": r"^[0-9a-fA-F]{4}\Z",
    "description": "four hexadecimal digits",
}

#: Filters and sort keys that tell what only administrators may know: hosts, projects, and when another
#: project does something.
FOR_ADMINS = ("host", "project_id", "updated_at")

SORT_KEYS = ["created_at", "name", "state", "vendor_id", "product_id", "port", "host", "updated_at"]

LIST = base.listing(
    {
        "server_id": base.UUID,
        "host": base.TEXT,
        "state": {"enum": [state.value for state in State]},
        "vendor_id": _HEXADECIMAL,
        "product_id": _HEXADECIMAL,
        "serial": base.TEXT,
        "port": base.TEXT,
        "kind": base.KIND,
        "transport": {"enum": ["local", "network", "any"], "description": "local, network or any"},
        "project_id": base.TEXT,
    },
    SORT_KEYS,
)

EXPLAIN = base.strict({"server_id": base.UUID})

UPDATE = base.wrapped(
    "device",
    base.strict(
        {
            "description": base.TEXT,
            "enabled": {"type": "boolean"},
            "shared": {
                "type": ["boolean", "null"],
                "description": "true, false, or null (the value of the rule)",
            },
            "kind": {
                "anyOf": [base.KIND, {"enum": ["", None]}],
                "description": "a kind, an empty string (no kind), or null (the kind of the rule)",
            },
        },
        least=1,
    ),
)

#: Keystone, keystone/api/validation/parameter_types.py: ID_STRING.
PROJECT_ID = r"[a-zA-Z0-9-]{1,64}"
