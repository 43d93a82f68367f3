# SPDX-License-Identifier: Apache-2.0
"""Hosts."""

from compute_shim.api.schemas import base

LIST = base.strict(
    {
        "sort_key": {"enum": ["host", "last_seen"]},
        "sort_dir": base.SORT_DIR,
        "limit": base.LIMIT,
        "marker": base.TEXT,
    }
)
