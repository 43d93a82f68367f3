# SPDX-License-Identifier: Apache-2.0
"""Hosts."""

from compute_shim.policies import base

LIST = base.rule("hosts", "list", base.ADMIN, "List hosts with a USB agent.", ("GET", "/v1/hosts"))
SHOW = base.rule("hosts", "show", base.ADMIN, "Show a host with a USB agent.", ("GET", "/v1/hosts/{host}"))
DELETE = base.rule(
    "hosts",
    "delete",
    base.ADMIN,
    "Delete a host that is down, including its devices and their claims.",
    ("DELETE", "/v1/hosts/{host}"),
)

RULES = [LIST, SHOW, DELETE]
