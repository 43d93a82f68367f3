# SPDX-License-Identifier: Apache-2.0
"""Keeps one host matching its claims.

One thread looks at the host, plans, acts and judges. Whatever may change something (a device plugged, a
domain started, a claim made) only puts a note into the inbox of that thread, so that every event takes the
same way, and a lost one is made up for by the next look at everything.
"""

from __future__ import annotations

import dataclasses
import queue
import time
from collections.abc import Callable, Iterable, Mapping

from oslo_log import log

from compute_shim.agent import executor, planner, usb_reset
from compute_shim.agent.discovery import Discovery
from compute_shim.agent.reporter import Reporter
from compute_shim.hypervisor.base import Domain, Driver, HypervisorUnavailable
from compute_shim.objects import Claim, Device, Reason, ReasonCode

LOG = log.getLogger(__name__)

# Seconds until the next try after the hypervisor did not answer, and before what it refused is tried again.
_RETRY_SECONDS = 5
# What is refused again and again is tried less and less often: with each try at a device that it cannot use,
# QEMU 7.2 leaves a file open, and it has only so many.
_LONGEST_PAUSE_SECONDS = 600
# Until the next look at a server that could not be changed while it was moved or saved.
_BUSY_SECONDS = 1


@dataclasses.dataclass(frozen=True)
class _ClaimsArrived:
    claims: tuple[Claim, ...]
    complete: bool


@dataclasses.dataclass(frozen=True)
class _DomainChanged:
    uuid: str


class _DeviceBound:
    pass


class _DevicesChanged:
    pass


class _LookAtEverything:
    pass


class _Stop:
    pass


_Note = _ClaimsArrived | _DomainChanged | _DeviceBound | _DevicesChanged | _LookAtEverything | _Stop


@dataclasses.dataclass(frozen=True)
class _Refusal:
    """Why an action was refused, the time at which it is tried again, and the seconds between the two."""

    action: planner.Attach | planner.Detach
    reason: Reason
    due: float
    pause: float


class Agent:
    """What a host has, what is wanted of it, and the thread that closes the difference.

    :param interval: seconds between two looks at everything.
    :param reset_device: resets a device of the host, raises OSError.
    """

    def __init__(
        self,
        driver: Driver,
        discovery: Discovery,
        reporter: Reporter,
        interval: float,
        reset_device: Callable[[Device], None] = usb_reset.reset,
    ) -> None:
        self._driver = driver
        self._discovery = discovery
        self._reporter = reporter
        self._interval = interval
        self._reset_device = reset_device
        self._inbox: queue.SimpleQueue[_Note] = queue.SimpleQueue()
        self._devices: list[Device] | None = None
        self._told_devices: list[Device] | None = None
        self._problems: list[str] = []
        self._domains: dict[str, Domain] | None = None
        self._claims: dict[str, Claim] | None = None
        self._refusals: dict[str, _Refusal] = {}
        # What became of the reset of a device that was given back. Who starts anew resets it once more: the
        # claim says that it is due until it is known to be free.
        self._resets: dict[str, Reason] = {}
        driver.listen(self._domain_changed)

    def device_bound(self) -> None:
        """A device can be used; udev may not know its name yet, so nothing is told of it."""
        self._inbox.put(_DeviceBound())

    def devices_changed(self) -> None:
        """A device was plugged or pulled out."""
        self._inbox.put(_DevicesChanged())

    def claims_arrived(self, claims: Iterable[Claim], *, complete: bool) -> None:
        """The intent changed.

        :param complete: these are the claims on all known devices of this host.
        """
        self._inbox.put(_ClaimsArrived(tuple(claims), complete))

    def stop(self) -> None:
        """Let `run` return; what it is doing is finished first."""
        self._inbox.put(_Stop())

    def _domain_changed(self, uuid: str | None) -> None:
        self._inbox.put(_LookAtEverything() if uuid is None else _DomainChanged(uuid))

    def run(self) -> None:
        """Keep the host matching its claims until `stop`."""
        due = time.monotonic()
        while True:
            notes = self._wait(due)
            if any(isinstance(note, _Stop) for note in notes):
                return
            if time.monotonic() >= due:
                notes.append(_LookAtEverything())
                due = time.monotonic() + self._interval
            try:
                self._take_in(notes)
                self._converge()
                if self._busy():
                    due = min(due, time.monotonic() + _BUSY_SECONDS)
            except HypervisorUnavailable as error:
                LOG.warning("%s; next try in %s s", error, _RETRY_SECONDS)
                due = time.monotonic() + _RETRY_SECONDS
            except Exception:
                # A host must not lose its agent to one surprise: the next look at everything starts anew.
                LOG.exception("This pass failed; next try in %s s", _RETRY_SECONDS)
                due = time.monotonic() + _RETRY_SECONDS

    def _wait(self, due: float) -> list[_Note]:
        """The notes that came in, none if the time is due first."""
        notes: list[_Note] = []
        try:
            notes.append(self._inbox.get(timeout=max(0.0, due - time.monotonic())))
            while True:
                notes.append(self._inbox.get_nowait())
        except queue.Empty:
            return notes

    def _take_in(self, notes: list[_Note]) -> None:
        first_claims = self._claims is None
        for note in notes:
            if isinstance(note, _ClaimsArrived):
                self._merge(note)
        everything = any(isinstance(note, _LookAtEverything) for note in notes)
        everything |= first_claims and self._claims is not None
        if everything or any(isinstance(note, _DeviceBound | _DevicesChanged) for note in notes):
            self._devices = self._discovery.scan((self._claims or {}).values())
        if everything or any(isinstance(note, _DevicesChanged) for note in notes):
            self._tell_devices()
        if everything:
            self._see({domain.uuid: domain for domain in self._driver.domains()})
        else:
            self._read_domains({note.uuid for note in notes if isinstance(note, _DomainChanged)})

    def _merge(self, arrived: _ClaimsArrived) -> None:
        """Take what is newer; forget devices that a complete list no longer has."""
        if self._claims is None and not arrived.complete:
            return  # the list that is on its way has this one too
        known = self._claims or {}
        merged = {} if arrived.complete else dict(known)
        for claim in arrived.claims:
            old = known.get(claim.device_id)
            merged[claim.device_id] = old if old and old.generation > claim.generation else claim
            if old is None or old.generation < claim.generation:
                self._refusals.pop(claim.device_id, None)
                self._resets.pop(claim.device_id, None)
        self._claims = merged

    def _tell_devices(self) -> None:
        devices, problems = self._devices or [], self._driver.problems()
        if (devices, problems) != (self._told_devices, self._problems):
            self._reporter.devices(self._driver.name(), devices, problems)
            for problem in problems if problems != self._problems else ():
                LOG.warning("%s", problem)
            self._told_devices, self._problems = devices, problems

    def _read_domains(self, uuids: Iterable[str]) -> None:
        if self._domains is None:
            return
        found = {uuid: self._driver.domain(uuid) for uuid in uuids}
        self._see(_updated(self._domains, found))

    def _see(self, domains: dict[str, Domain]) -> None:
        """Take what is known of the domains; what one refused is tried again when it has changed."""
        before, self._domains = self._domains or {}, domains
        for device_id, refusal in tuple(self._refusals.items()):
            server_id = refusal.action.server_id
            if before.get(server_id) != domains.get(server_id):
                self._refusals[device_id] = dataclasses.replace(refusal, due=0.0, pause=0.0)

    def _converge(self) -> None:
        # Without a word from the conductor nobody knows what is wanted, so nothing may be taken out.
        if self._claims is None or self._devices is None or self._domains is None:
            return
        claims = self._claims.values()
        actions = [
            action
            for action in planner.plan(claims, self._devices, self._domains.values())
            if self._worth_trying(action)
        ]
        done = executor.execute(actions, self._driver, self._discovery.refresh)
        self._see(_updated(self._domains, done.domains))
        self._remember(actions, done.refusals)
        domains = self._domains.values()
        for reset in planner.resets(claims, self._devices, domains, self._resets):
            self._resets[reset.device_id] = executor.reset(reset, self._discovery.refresh, self._reset_device)
        reasons = {device_id: refusal.reason for device_id, refusal in self._refusals.items()}
        # Nobody is told that a device is attached before it is told that it is there.
        if self._devices == self._told_devices:
            self._reporter.outcomes(planner.judge(claims, self._devices, domains, reasons, self._resets))

    def _busy(self) -> bool:
        return any(refusal.reason.code == ReasonCode.SERVER_BUSY for refusal in self._refusals.values())

    def _worth_trying(self, action: planner.Attach | planner.Detach) -> bool:
        """Was the very same not refused just now? A refused attach makes events of its own."""
        refusal = self._refusals.get(action.device_id)
        if refusal is None or refusal.action != action or refusal.reason.code == ReasonCode.SERVER_BUSY:
            return True
        return time.monotonic() >= refusal.due

    def _remember(self, actions: list[planner.Attach | planner.Detach], refusals: dict[str, Reason]) -> None:
        before = {action.device_id: self._refusals.pop(action.device_id, None) for action in actions}
        for action in actions:
            if action.device_id in refusals:
                last = before[action.device_id]
                pause = 2 * last.pause if last and last.action == action else 0.0
                pause = min(max(_RETRY_SECONDS, pause), _LONGEST_PAUSE_SECONDS)
                reason = refusals[action.device_id]
                self._refusals[action.device_id] = _Refusal(action, reason, time.monotonic() + pause, pause)


def _updated(domains: Mapping[str, Domain], found: Mapping[str, Domain | None]) -> dict[str, Domain]:
    """All domains, with those that were looked at anew; None is one that is not on the host any more."""
    return {uuid: domain for uuid, domain in {**domains, **found}.items() if domain is not None}
