# SPDX-License-Identifier: Apache-2.0
"""The agent's loop.

One thread observes, plans, acts and reports. Event sources only enqueue events for it, so every event follows
one path, and the periodic resync recovers lost ones.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Collection, Iterable

from oslo_log import log

from compute_shim.agent import usb_reset
from compute_shim.agent.discovery import Discovery
from compute_shim.agent.events import (
    ClaimsArrived,
    DeviceBound,
    DevicesChanged,
    DomainChanged,
    Event,
    RelaysChanged,
    Resync,
    Stop,
    Wiped,
)
from compute_shim.agent.reconciler import Reconciler
from compute_shim.agent.relays import Relays
from compute_shim.agent.reporter import Reporter
from compute_shim.agent.wiper import Wiper
from compute_shim.hypervisor.base import Driver, HypervisorError, HypervisorUnavailable
from compute_shim.objects import Claim, Device

LOG = log.getLogger(__name__)

# Seconds until the next resync after a pass that failed.
_RETRY_SECONDS = 5
# Seconds until the next look at a server that could not be changed while it was migrated or saved.
_BUSY_SECONDS = 1


class Agent:
    """Reconciles one host with its claims.

    :param interval: seconds between resyncs.
    :param reset_device: resets a device of the host, raises OSError.
    :param shield: is given the devices that are plugged in and offered, or known, after each scan.
    :param wiper: overwrites the data on devices.
    :param relays: connect devices with servers on other hosts.
    :param problems: that the operator of this host must fix, beside those that the driver knows.
    """

    def __init__(
        self,
        driver: Driver,
        discovery: Discovery,
        reporter: Reporter,
        interval: float,
        reset_device: Callable[[Device], None] = usb_reset.reset,
        shield: Callable[[Collection[Device]], None] = lambda devices: None,
        wiper: Wiper | None = None,
        relays: Relays | None = None,
        problems: Callable[[], list[str]] = list,
    ) -> None:
        wiper = wiper or Wiper()
        relays = relays or Relays(None)
        self._reconciler = Reconciler(
            driver, discovery, reporter, reset_device, shield, wiper, relays, problems
        )
        self._interval = interval
        self._queue: queue.SimpleQueue[Event] = queue.SimpleQueue()
        driver.listen(self._domain_changed)
        wiper.listen(lambda: self._queue.put(Wiped()))

    def device_bound(self) -> None:
        """The kernel has bound a device. It is not reported yet, because udev may not know its name."""
        self._queue.put(DeviceBound())

    def devices_changed(self) -> None:
        """A device was plugged in or unplugged."""
        self._queue.put(DevicesChanged())

    def claims_arrived(
        self, claims: Iterable[Claim], *, complete: bool, request_id: str | None = None
    ) -> None:
        """Claims were received.

        :param complete: these are the claims on all known devices of this host.
        :param request_id: of the request that changed it.
        """
        self._queue.put(ClaimsArrived(tuple(claims), complete, request_id))

    def relays_changed(self) -> None:
        """A relay has another state, or has ended."""
        self._queue.put(RelaysChanged())

    def stop(self) -> None:
        """Make `run` return, after the current pass."""
        self._queue.put(Stop())

    def _domain_changed(self, uuid: str | None) -> None:
        self._queue.put(Resync() if uuid is None else DomainChanged(uuid))

    def run(self) -> None:
        """Reconcile the host with its claims until `stop`."""
        due = time.monotonic()
        while True:
            events = self._wait(due)
            if any(isinstance(event, Stop) for event in events):
                return
            if time.monotonic() >= due:
                events.append(Resync())
                due = time.monotonic() + self._interval
            pause = self._pass(events)
            due = min(due, time.monotonic() + pause)

    def _wait(self, due: float) -> list[Event]:
        """The queued events; none if the time is reached first."""
        events: list[Event] = []
        try:
            events.append(self._queue.get(timeout=max(0.0, due - time.monotonic())))
            while True:
                events.append(self._queue.get_nowait())
        except queue.Empty:
            return events

    def _pass(self, events: list[Event]) -> float:
        """Reconcile the host with its claims; returns the maximum number of seconds to the next resync."""
        try:
            self._reconciler.observe(events)
            self._reconciler.reconcile()
        except HypervisorUnavailable as error:
            self._reconciler.hypervisor_lost()
            LOG.warning("%s; next try in %s s", error, _RETRY_SECONDS)
            return _RETRY_SECONDS
        except HypervisorError as error:
            LOG.error("The hypervisor refuses to be read: %s; next try in %s s", error, _RETRY_SECONDS)
            return _RETRY_SECONDS
        except Exception:
            # A host must not lose its agent to one surprise: the next resync starts anew.
            LOG.exception("This pass failed; next try in %s s", _RETRY_SECONDS)
            return _RETRY_SECONDS
        return _BUSY_SECONDS if self._reconciler.waits_for_server() else self._interval
