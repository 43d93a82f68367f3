# SPDX-License-Identifier: Apache-2.0
"""Hosts."""

from compute_shim.api.schemas import base

LIST = base.strict(
    {
        "sort_key": {"enum": ["host", "last_seen"]},
        "sort_dir": {"enum": ["asc", "desc"]},
        "limit": base.LIMIT,
        "marker": base.TEXT,
    }
)

SHOW = base.strict({})
