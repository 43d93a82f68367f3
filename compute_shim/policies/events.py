# SPDX-License-Identifier: Apache-2.0
"""Events."""

from compute_shim.policies import base

LIST = base.rule(
    "events",
    "list",
    base.READER,
    "Show the history of a USB device; without devices:see_all, of the time in which the own project had it.",
    ("GET", "/v1/devices/{device_id}/events"),
)

RULES = [LIST]
