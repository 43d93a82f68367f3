# SPDX-License-Identifier: Apache-2.0
"""What it costs a tenant that devices are shared with some projects, and not with all."""

from __future__ import annotations

from benchmarks.scale_cloud import PROJECTS, Cloud, SharedCloud
from benchmarks.scale_growth import CLAIM, get, row

_OPERATIONS = (
    get("list, limit=20, tenant", "/v1/devices?limit=20", "demo"),
    get("list, limit=20, tenant, by name", "/v1/devices?limit=20&sort_key=name", "demo"),
    get("list, server_id=, tenant", "/v1/devices?server_id={server}", "demo"),
    get("show device, tenant", "/v1/devices/{device}", "demo"),
    CLAIM,
)


def report(everybody: Cloud, some: SharedCloud, rounds: int) -> str:
    """A row for each operation: medians in a cloud that shares with all, and in one that does not.

    :param everybody: the cloud where every device is shared with all projects.
    """
    # Where a tenant can see and claim the last device, in both.
    everybody.hosts = some.hosts = some.demo_hosts
    title = f"milliseconds: shared with all, with some of {PROJECTS:,}"
    head = f"{title:44}{'all':>9}{'some':>9}{'ratio':>9}  SQL  reads more"
    return "\n".join([head, *(row(operation, [everybody, some], rounds) for operation in _OPERATIONS)])
