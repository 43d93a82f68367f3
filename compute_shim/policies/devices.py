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
    "See the hosts of USB devices, the servers of other projects that hold them, and devices that are no"
    " longer offered.",
    ("GET", _ALL),
    ("GET", _ONE),
)
EXPLAIN = base.rule(
    "devices",
    "explain",
    base.READER,
    "Show the conditions for attaching a device, and which are not met.",
    ("GET", f"{_ONE}/explain"),
)
UPDATE = base.rule(
    "devices",
    "update",
    base.ADMIN,
    "Set the description or kind of a device; enable or disable it.",
    ("PATCH", _ONE),
)
SHARE = base.rule(
    "devices",
    "share",
    base.MANAGE_SHARING,
    "Share a device with all projects or with one project, or stop sharing it.",
    ("PATCH", _ONE),
    ("PUT", f"{_ONE}/projects/{{project_id}}"),
    ("DELETE", f"{_ONE}/projects/{{project_id}}"),
)
DELETE = base.rule("devices", "delete", base.ADMIN, "Forget an unplugged device.", ("DELETE", _ONE))
RELEASE = base.rule(
    "devices",
    "release",
    base.ADMIN,
    "Release a device that is held for inspection, or that is claimed on a host that is down.",
    ("POST", f"{_ONE}/release"),
)

RULES = [LIST, SHOW, EXPLAIN, SEE_ALL, UPDATE, SHARE, DELETE, RELEASE]
