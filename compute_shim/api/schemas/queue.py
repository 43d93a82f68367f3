# SPDX-License-Identifier: Apache-2.0
"""The queue."""

from compute_shim.api.schemas import base

_PAGE = {"limit": base.LIMIT, "marker": base.UUID}

LIST = base.strict({"server_id": base.UUID, "project_id": base.TEXT, **_PAGE})

OF_SERVER = base.strict(_PAGE)

#: One of the first two, as for attachments.
JOIN = base.wrapped(
    "entry",
    base.strict(
        {
            "device_id": base.UUID,
            "kind": base.KIND,
            "lease": base.SECONDS,
            "transport": base.TRANSPORT,
        }
    ),
)
