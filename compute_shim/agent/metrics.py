# SPDX-License-Identifier: Apache-2.0
"""Metrics of the agent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from compute_shim.metrics import NAMESPACE
from compute_shim.objects import ClaimStatus, State
from compute_shim.relay.traffic import Traffic

# Seconds. The hypervisor answers in a tenth of a second, a guest may take ten to let a device go.
_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

# Not more devices than a host's agent reports in a normal life (a bus has 127: USB 2.0 specification, 9.4.6);
# one that shows a new serial at every plug must not fill the memory of Prometheus.
_DEVICES = 256
_OTHER = "other"

attach_seconds = Histogram(
    "attach_seconds",
    "Duration of an attach in the hypervisor, refused ones included.",
    namespace=NAMESPACE,
    registry=None,
    buckets=_BUCKETS,
)
detach_seconds = Histogram(
    "detach_seconds",
    "Duration of a detach in the hypervisor, refused ones included.",
    namespace=NAMESPACE,
    registry=None,
    buckets=_BUCKETS,
)
replug_seconds = Histogram(
    "replug_seconds",
    "Time from a claimed device's being plugged again until its server has it.",
    namespace=NAMESPACE,
    registry=None,
    buckets=_BUCKETS,
)
attach_refusals = Counter(
    "attach_refusals",
    "Attaches that were refused, by reason code.",
    ["code"],
    namespace=NAMESPACE,
    registry=None,
)
syncs = Counter(
    "agent_syncs",
    "Syncs with the conductor, by result: done or failed.",
    ["result"],
    namespace=NAMESPACE,
    registry=None,
)
outcomes_queued = Gauge(
    "outcomes_queued",
    "Claims whose outcome the conductor has not been told yet.",
    namespace=NAMESPACE,
    registry=None,
)
certificate_days = Gauge(
    "certificate_days",
    "Days until the certificate of [network_usb] expires; NaN if it is not set, 0 if it cannot be used.",
    namespace=NAMESPACE,
    registry=None,
)
certificate_days.set(float("nan"))


class Flaps:
    """Counts how often each device was unplugged; devices beyond a limit share one counter.

    :param bound: maximum number of devices with a separate counter.
    """

    def __init__(self, bound: int) -> None:
        self.counter = Counter(
            "flaps",
            "How often a known device was unplugged, by its id.",
            ["device_id"],
            namespace=NAMESPACE,
            registry=None,
        )
        self._bound = bound
        self._lock = threading.Lock()
        self._known: set[str] = set()

    def inc(self, device_id: str) -> None:
        """A device was unplugged."""
        with self._lock:
            if device_id not in self._known and len(self._known) < self._bound:
                self._known.add(device_id)
            label = device_id if device_id in self._known else _OTHER
        self.counter.labels(label).inc()


flaps = Flaps(_DEVICES)


class Replugs:
    """Detects devices that are unplugged and plugged in again."""

    def __init__(self) -> None:
        self._present: set[str] | None = None
        self._back_since: dict[str, float] = {}

    def see(self, present: set[str], outcomes: Iterable[ClaimStatus]) -> None:
        """Count the changes since the last call.

        :param present: ids of the devices that are plugged in.
        :param outcomes: the statuses of the claims on all known devices.
        """
        now = time.monotonic()
        if self._present is not None:
            for device_id in self._present - present:
                flaps.inc(device_id)
            self._back_since |= dict.fromkeys(present - self._present, now)
        self._present = present
        states = {outcome.device_id: outcome.state for outcome in outcomes}
        for device_id in tuple(self._back_since):
            state = states.get(device_id)
            if state == State.ATTACHED:
                replug_seconds.observe(now - self._back_since[device_id])
            if device_id not in present or state not in (State.WAITING, State.FAILED):
                del self._back_since[device_id]


class Channels(Collector):
    """What the relays of this host carry, read at each scrape.

    :param traffic: returns it by the id of the device.
    """

    def __init__(self, traffic: Callable[[], Mapping[str, Traffic]]) -> None:
        self._traffic = traffic

    def collect(self) -> Iterable[Metric]:
        """Called at each scrape."""
        carried = CounterMetricFamily(
            f"{NAMESPACE}_channel_bytes",
            "Bytes to and from the other host of a device that is used over the network, by the device's id.",
            labels=["device_id", "direction"],
        )
        round_trip = GaugeMetricFamily(
            f"{NAMESPACE}_channel_round_trip_seconds",
            "Time of a round trip to the other host, as TCP estimates it.",
            labels=["device_id"],
        )
        for device_id, found in self._traffic().items():
            carried.add_metric([device_id, "sent"], found.sent)
            carried.add_metric([device_id, "received"], found.received)
            round_trip.add_metric([device_id], found.round_trip / 1e6)
        return carried, round_trip


_COUNTED = (
    attach_seconds,
    detach_seconds,
    replug_seconds,
    attach_refusals,
    syncs,
    outcomes_queued,
    certificate_days,
    flaps.counter,
)


def registry(traffic: Callable[[], Mapping[str, Traffic]]) -> CollectorRegistry:
    """All metrics of an agent.

    :param traffic: as for `Channels`.
    """
    whole = CollectorRegistry()
    for one in (*_COUNTED, Channels(traffic)):
        whole.register(one)
    return whole
