# SPDX-License-Identifier: Apache-2.0
"""The queue."""

from compute_shim.policies import base

_OF_SERVER = "/v1/servers/{server_id}/queue"

LIST = base.rule(
    "queue",
    "list",
    base.READER,
    "List what servers are in line for.",
    ("GET", "/v1/queue"),
    ("GET", _OF_SERVER),
)
JOIN = base.rule(
    "queue", "join", base.MEMBER, "Put a server in line for a USB device or a kind.", ("POST", _OF_SERVER)
)
LEAVE = base.rule(
    "queue",
    "leave",
    base.MEMBER,
    "Give up a server's place in line.",
    ("DELETE", f"{_OF_SERVER}/{{entry_id}}"),
)

RULES = [LIST, JOIN, LEAVE]
