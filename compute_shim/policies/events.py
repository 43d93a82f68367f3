# SPDX-License-Identifier: Apache-2.0
"""Events."""

from compute_shim.policies import base

_OPERATIONS = (("GET", "/v1/events"), ("GET", "/v1/devices/{device_id}/events"))

LIST = base.rule(
    "events",
    "list",
    base.READER,
    "Show the history of USB devices; without events:list_all, of the time in which the own project had"
    " them.",
    *_OPERATIONS,
)
LIST_ALL = base.rule(
    "events",
    "list_all",
    base.ADMIN,
    "Show the history of USB devices of all projects, with hosts, details and who requested what.",
    *_OPERATIONS,
)

RULES = [LIST, LIST_ALL]
