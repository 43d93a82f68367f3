# SPDX-License-Identifier: Apache-2.0
"""Attachments."""

from compute_shim.policies import base

_ALL = "/v1/servers/{server_id}/attachments"
_ONE = "/v1/servers/{server_id}/attachments/{device_id}"
_QUEUE = "/v1/servers/{server_id}/queue"

LIST = base.rule(
    "attachments", "list", base.READER, "List the USB devices of a server.", ("GET", _ALL), ("GET", _ONE)
)
CREATE = base.rule("attachments", "create", base.MEMBER, "Attach a USB device to a server.", ("POST", _ALL))
UPDATE = base.rule(
    "attachments", "update", base.MEMBER, "Change how long a server has a USB device.", ("PATCH", _ONE)
)
DELETE = base.rule(
    "attachments", "delete", base.MEMBER, "Detach a USB device from a server.", ("DELETE", _ONE)
)
ANY_SERVER = base.rule(
    "attachments",
    "any_server",
    base.ADMIN,
    "List, attach, detach or queue for servers of any project, including locked servers. project_id and"
    " user_id of the target are those of the server, or of the claim that a deleted server left.",
    ("GET", _ALL),
    ("GET", _ONE),
    ("POST", _ALL),
    ("PATCH", _ONE),
    ("DELETE", _ONE),
    ("GET", _QUEUE),
    ("POST", _QUEUE),
    ("DELETE", f"{_QUEUE}/{{entry_id}}"),
)

RULES = [LIST, CREATE, UPDATE, DELETE, ANY_SERVER]
