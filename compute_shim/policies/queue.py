# SPDX-License-Identifier: Apache-2.0
"""The queue."""

from compute_shim.policies import base

_OF_SERVER = "/v1/servers/{server_id}/queue"

LIST = base.rule(
    "queue",
    "list",
    base.READER,
    "List queue entries of servers.",
    ("GET", "/v1/queue"),
    ("GET", _OF_SERVER),
)
JOIN = base.rule(
    "queue", "join", base.MEMBER, "Queue a server for a USB device or a kind.", ("POST", _OF_SERVER)
)
LEAVE = base.rule(
    "queue",
    "leave",
    base.MEMBER,
    "Remove a server from a queue.",
    ("DELETE", f"{_OF_SERVER}/{{entry_id}}"),
)

RULES = [LIST, JOIN, LEAVE]
