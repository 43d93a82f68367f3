# SPDX-License-Identifier: Apache-2.0
"""Kinds."""

from compute_shim.policies import base

LIST = base.rule(
    "kinds",
    "list",
    base.READER,
    "List the kinds of USB devices available to the project.",
    ("GET", "/v1/kinds"),
)

RULES = [LIST]
