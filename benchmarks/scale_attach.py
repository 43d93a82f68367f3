# SPDX-License-Identifier: Apache-2.0
"""How many devices can be attached and detached in a second, by many callers at once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from concurrent import futures

from benchmarks.scale_cloud import ATTACHED_PER_HOST, Cloud

_THREADS = 8


def report(clouds: Sequence[Cloud], blocks: int, pairs: int) -> str:
    """Pairs a second in each cloud, and the ratio of the second to the first.

    :param pairs: of attach and detach, of each thread in each block.
    """
    rates: list[list[float]] = [[] for _ in clouds]
    with futures.ThreadPoolExecutor(_THREADS) as pool:
        for _ in range(blocks):
            for cloud, found in zip(clouds, rates, strict=True):
                found.append(_rate(pool, cloud, pairs))
    few, many = (statistics.median(found) for found in rates)
    return (
        f"attach, detach and the agent's report, {_THREADS} threads: {many:.1f} a second at"
        f" {len(clouds[1].hosts)} hosts, {few:.1f} at {len(clouds[0].hosts)}; ratio {many / few:.2f}"
    )


def _rate(pool: futures.Executor, cloud: Cloud, pairs: int) -> float:
    began = time.perf_counter()
    for work in [pool.submit(_attach, cloud, cloud.host(thread), pairs) for thread in range(_THREADS)]:
        work.result()
    return _THREADS * pairs / (time.perf_counter() - began)


def _attach(cloud: Cloud, host: str, pairs: int) -> None:
    for _ in range(pairs):
        cloud.take(host, ATTACHED_PER_HOST)
        cloud.free(host, ATTACHED_PER_HOST)
