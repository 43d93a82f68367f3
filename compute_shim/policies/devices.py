# SPDX-License-Identifier: Apache-2.0
"""Devices."""

from compute_shim.policies import base

_ALL, _ONE = "/v1/devices", "/v1/devices/{device_id}"

LIST = base.rule("devices", "list", base.READER, "List USB devices.", ("GET", _ALL))
SHOW = base.rule("devices", "show", base.READER, "Show a USB device.", ("GET", _ONE))
SEE_ALL = base.rule(
    "devices",
    "see_all",
    base.ADMIN,
    "See on which hosts USB devices are, which servers of other projects have them, and those that no host"
    " offers any more.",
    ("GET", _ALL),
    ("GET", _ONE),
)
EXPLAIN = base.rule(
    "devices",
    "explain",
    base.READER,
    "Show what keeps a device from being attached.",
    ("GET", f"{_ONE}/explain"),
)
UPDATE = base.rule(
    "devices",
    "update",
    base.ADMIN,
    "Describe a device, enable or disable it, or give it a kind.",
    ("PATCH", _ONE),
)
SHARE = base.rule(
    "devices",
    "share",
    base.MANAGE_SHARING,
    "Share a device with all projects or with one, or stop that.",
    ("PATCH", _ONE),
    ("PUT", f"{_ONE}/projects/{{project_id}}"),
    ("DELETE", f"{_ONE}/projects/{{project_id}}"),
)
DELETE = base.rule("devices", "delete", base.ADMIN, "Forget a device that is absent.", ("DELETE", _ONE))
RELEASE = base.rule(
    "devices",
    "release",
    base.ADMIN,
    "End the claim on a device whose host is down.",
    ("POST", f"{_ONE}/release"),
)

RULES = [LIST, SHOW, EXPLAIN, SEE_ALL, UPDATE, SHARE, DELETE, RELEASE]
