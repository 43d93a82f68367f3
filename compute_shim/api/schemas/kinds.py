# SPDX-License-Identifier: Apache-2.0
"""Kinds."""

from compute_shim.api.schemas import base

LIST = base.strict(
    {
        "server_id": base.UUID,
        "sort_key": {"enum": ["name"]},
        "sort_dir": base.SORT_DIR,
        "limit": base.LIMIT,
        "marker": base.KIND,
    }
)
