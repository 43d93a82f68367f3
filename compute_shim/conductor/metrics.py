# SPDX-License-Identifier: Apache-2.0
"""The metrics of a conductor: its own counters, and gauges read from the database when scraped."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from oslo_config import cfg
from oslo_db import exception as db_exception
from oslo_log import log
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import exc as sqlalchemy_exception

from compute_shim.bounded import Bounded
from compute_shim.db import statistics
from compute_shim.db.api import Database
from compute_shim.metrics import NAMESPACE
from compute_shim.objects import ClaimStatus, ReasonCode, State

LOG = log.getLogger(__name__)

# Seconds for which counts are not read again, and for which a scrape waits for them. Prometheus gives up
# after 10 s by default ("scrape_timeout").
_FRESH = 5
_PATIENCE = 2

syncs = Counter(
    "syncs", "Syncs of agents, by result: done or failed.", ["result"], namespace=NAMESPACE, registry=None
)
sync_seconds = Histogram(
    "sync_seconds", "Duration of a sync of an agent.", namespace=NAMESPACE, registry=None
)
releases = Counter(
    "releases",
    "Claims that ended because their server is gone.",
    namespace=NAMESPACE,
    registry=None,
)
brakes = Counter(
    "release_brakes",
    "Passes that released no claim because too many servers seemed to be deleted.",
    namespace=NAMESPACE,
    registry=None,
)
refusals = Counter(
    "refusals",
    "Claims that an agent reported as failed, by reason code.",
    ["code"],
    namespace=NAMESPACE,
    registry=None,
)
queue_wait_seconds = Histogram(
    "queue_wait_seconds",
    "How long servers were in line for what they got.",
    buckets=(1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600),
    namespace=NAMESPACE,
    registry=None,
)

placement_passes = Counter(
    "placement_passes",
    "Comparisons with Placement, by result: done or failed.",
    ["result"],
    namespace=NAMESPACE,
    registry=None,
)
unfulfilled_allocations = Gauge(
    "unfulfilled_allocations",
    "Servers and resource classes of which Nova has allocated more than the server could get.",
    namespace=NAMESPACE,
    registry=None,
)

_COUNTED = (
    syncs,
    sync_seconds,
    releases,
    brakes,
    refusals,
    queue_wait_seconds,
    placement_passes,
    unfulfilled_allocations,
)


def count_refusals(outcomes: Iterable[ClaimStatus]) -> None:
    """Count the claims that failed. What a newer agent may say is counted together."""
    for outcome in outcomes:
        if outcome.state == State.FAILED:
            known = outcome.reason_code in frozenset(ReasonCode)
            refusals.labels(outcome.reason_code if known else ReasonCode.HYPERVISOR_ERROR).inc()


@contextlib.contextmanager
def sync() -> Iterator[None]:
    """Measure and count a sync; also a decorator."""
    try:
        with sync_seconds.time():
            yield
    except Exception:
        syncs.labels("failed").inc()
        raise
    syncs.labels("done").inc()


def registry(conf: cfg.ConfigOpts, db: Database) -> CollectorRegistry:
    """All metrics of a conductor."""
    whole = CollectorRegistry()
    for one in (*_COUNTED, DatabaseCollector(db, conf.conductor.host_down_time)):
        whole.register(one)
    return whole


class DatabaseCollector(Collector):
    """Gauges read from the database; omitted while it does not answer.

    :param host_down_time: as in `compute_shim.db.statistics.take`.
    """

    def __init__(self, db: Database, host_down_time: int) -> None:
        self._reads = Bounded(1)
        self._take = lambda: statistics.take(db, host_down_time)
        self._taken: statistics.Statistics | None = None
        self._expires = 0.0

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Called by prometheus_client at each scrape."""
        if time.monotonic() >= self._expires:
            self._taken = self._current()
            self._expires = time.monotonic() + _FRESH
        taken = self._taken
        yield _gauge("database_up", "Whether the database answers.", {(): int(taken is not None)})
        if taken is not None:
            yield _gauge("devices", "Devices, by host and state.", taken.devices, "host", "state")
            claims = {(state,): count for state, count in taken.claims.items()}
            yield _gauge("claims", "Devices that a server has, by state.", claims, "state")
            lines = {(kind,): count for kind, count in taken.queue.items()}
            yield _gauge(
                "queue_entries", "Places in line, by kind; by none for a certain device.", lines, "kind"
            )
            projects = {(project,): count for project, count in taken.projects.items()}
            yield _gauge("project_devices", "Devices that servers of a project have.", projects, "project")
            hosts = {("up",): taken.hosts_up, ("down",): taken.hosts_down}
            yield _gauge("hosts", "Hosts with an agent, by state: up or down.", hosts, "state")

    def _current(self) -> statistics.Statistics | None:
        try:
            return self._reads.run(self._take, _PATIENCE)
        except (TimeoutError, db_exception.DBError, sqlalchemy_exception.SQLAlchemyError) as error:
            LOG.warning("Metrics without the database: %s", error or "it does not answer in time")
            return None


def _gauge(name: str, text: str, values: Mapping[Any, int], *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{NAMESPACE}_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
