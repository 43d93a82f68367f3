# SPDX-License-Identifier: Apache-2.0
"""How the time of each operation grows with the number of devices."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import scale_statements as statements
from benchmarks.scale_cloud import DEVICES_PER_HOST, Cloud, device_id, server_id
from compute_shim import liveness
from compute_shim.conductor.evidence import Witnesses
from compute_shim.conductor.server_sync import ServerSync
from compute_shim.db.leases import Lease

Step = Callable[[Cloud, str], object]

# The last device of a host is free.
_FREE = DEVICES_PER_HOST - 1
_ABSENT_INTERVAL = 60


@dataclasses.dataclass(frozen=True)
class Operation:
    """What is measured, on one host of a cloud.

    :param before: done before each time, and not measured; so is `after`.
    """

    name: str
    run: Step
    before: Step = lambda cloud, host: None
    after: Step = lambda cloud, host: None


def look_for_absent_servers(cloud: Cloud, host: str) -> None:
    """What the conductor does from time to time."""
    nova: Any = cloud.nova
    nudger: Any = cloud.nudger

    sync = ServerSync(
        cloud.db,
        Witnesses(cloud.db, nova, None),
        nudger,
        Lease(cloud.db, "server-sync", "benchmark", _ABSENT_INTERVAL),
        lambda: liveness.Window.now(cloud.conf),
        lambda: None,
        _ABSENT_INTERVAL,
    )
    sync()


def get(name: str, path: str, caller: str = "admin") -> Operation:
    """A GET; ``{host}``, ``{server}`` and ``{device}`` stand for those of the host."""
    return Operation(
        name,
        lambda cloud, host: cloud.get(
            caller, path.format(host=host, server=server_id(host), device=device_id(host, _FREE))
        ),
    )


CLAIM = Operation(
    "attach and detach",
    lambda cloud, host: cloud.take(host, _FREE),
    after=lambda cloud, host: cloud.free(host, _FREE),
)

OPERATIONS = (
    get("list, limit=20", "/v1/devices?limit=20"),
    get("list, limit=20, tenant", "/v1/devices?limit=20", "demo"),
    get("list, page of 1,000", "/v1/devices?limit=1000"),
    get("list, state=failed: none", "/v1/devices?state=failed"),
    get("list, host=", "/v1/devices?host={host}"),
    get("list, server_id=, tenant", "/v1/devices?server_id={server}", "demo"),
    get("show device", "/v1/devices/{device}"),
    get("attachments of a server", "/v1/servers/{server}/attachments", "demo"),
    CLAIM,
    get("list of hosts, limit=20", "/v1/hosts?limit=20"),
    get("show host", "/v1/hosts/{host}"),
    Operation(
        "sync, unchanged",
        lambda cloud, host: cloud.sync_unchanged(host),
        before=lambda cloud, host: cloud.sync_unchanged(host),
    ),
    Operation("look for absent servers", look_for_absent_servers),
)


def report(clouds: Sequence[Cloud], rounds: int) -> str:
    """A row for each operation: medians, and ratios to the first cloud, the smallest."""
    times = [f"{cloud.size:,}" for cloud in clouds]
    ratios = [f"/ {clouds[0].size:,}" for _ in clouds[1:]]
    head = "".join(f"{text:>9}" for text in times) + "".join(f"{text:>9}" for text in ratios)
    lines = [f"{'milliseconds at so many devices, and ratios':44}{head}  SQL  reads more"]
    lines += [row(operation, clouds, rounds) for operation in OPERATIONS]
    return "\n".join(lines)


def row(operation: Operation, clouds: Sequence[Cloud], rounds: int) -> str:
    """Medians, ratios to the first cloud, and what the last one has the database do."""
    counts, reads = zip(*(_statements(operation, cloud) for cloud in clouds), strict=True)
    seconds = _medians(operation, clouds, rounds)
    times = "".join(f"{1e3 * median:9.1f}" for median in seconds)
    ratios = "".join(f"{median / seconds[0]:9.2f}" for median in seconds[1:])
    more = [
        f"{read.table} ({', '.join([f'{read.rows:,} rows', *sorted(read.how)])})"
        for read in statements.grown(reads[0], reads[-1])
    ]
    return f"{operation.name:44}{times}{ratios}{counts[-1]:5}  {'; '.join(more) or '-'}"


def _statements(operation: Operation, cloud: Cloud) -> tuple[int, dict[str, statements.Read]]:
    """How many statements it makes, and what they read. This is the warm-up as well."""
    host = cloud.host(0)
    operation.before(cloud, host)
    with statements.recorded() as made:
        operation.run(cloud, host)
    operation.after(cloud, host)
    return len(made), statements.explained(cloud.db.engine(), made)


def _medians(operation: Operation, clouds: Sequence[Cloud], rounds: int) -> list[float]:
    """Seconds for each cloud; they take turns, so that what disturbs the machine disturbs all."""
    seconds: list[list[float]] = [[] for _ in clouds]
    for turn in range(1, rounds + 1):
        for cloud, taken in zip(clouds, seconds, strict=True):
            host = cloud.host(turn)
            operation.before(cloud, host)
            began = time.perf_counter()
            operation.run(cloud, host)
            taken.append(time.perf_counter() - began)
            operation.after(cloud, host)
    return [statistics.median(taken) for taken in seconds]
