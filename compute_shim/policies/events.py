# SPDX-License-Identifier: Apache-2.0
"""Events."""

from compute_shim.policies import base

_OPERATIONS = (("GET", "/v1/events"), ("GET", "/v1/devices/{device_id}/events"))

LIST = base.rule(
    "events",
    "list",
    base.READER,
    "Show the history of USB devices. Without events:list_all, only events from the period in which the"
    " caller's project held the device.",
    *_OPERATIONS,
)
LIST_ALL = base.rule(
    "events",
    "list_all",
    base.ADMIN,
    "Show the history of USB devices of all projects, including hosts, details and requesters.",
    *_OPERATIONS,
)

RULES = [LIST, LIST_ALL]
