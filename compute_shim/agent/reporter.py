# SPDX-License-Identifier: Apache-2.0
"""Reports the state of the host to the conductor and fetches the claims, in a separate thread.

A message bus that is down must not delay work on the host.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping

import oslo_messaging
from oslo_log import log

from compute_shim.agent import metrics
from compute_shim.hypervisor.base import Domain
from compute_shim.objects import SERVER_ABSENT, Claim, ClaimStatus, Device, ReasonCode, Server
from compute_shim.rpc import ConductorClient

LOG = log.getLogger(__name__)

_RETRY_SECONDS = 5
_BETTER_KNOWN = frozenset(SERVER_ABSENT) - {ReasonCode.DOMAIN_ABSENT}


class Reporter:
    """Reports plugged devices, servers and the status of each claim, and fetches the claims.

    :param interval: seconds between syncs, each of which is a heartbeat.
    """

    def __init__(self, conductor: ConductorClient, interval: float) -> None:
        self._conductor = conductor
        self._interval = interval
        self._changed = threading.Condition()
        self._hypervisor = ""
        self._problems: list[str] = []
        self._devices: list[Device] | None = None
        self._identified = False
        self._servers: dict[str, Server] | None = None
        self._outcomes: dict[str, ClaimStatus] = {}
        # Outcomes of devices of which the conductor has yet to be told: they follow the next sync.
        self._next_outcomes: dict[str, ClaimStatus] | None = None
        self._request_ids: dict[str, str] = {}
        # What the database says: by our own reports, and by the last sync where nothing was reported since.
        self._told: dict[str, ClaimStatus] = {}
        self._claims: dict[str, Claim] = {}
        self._sync_wanted = False
        self._stopping = False
        # Whether an operator who reads the log has been told that this host can be used.
        self._announced = False

    def devices(
        self, hypervisor: str, devices: list[Device], problems: list[str], *, identified: bool
    ) -> None:
        """Set the plugged devices.

        :param hypervisor: its name and version, for display.
        :param problems: problems that the operator of this host must fix.
        :param identified: whether they were identified by claims; False before any were received.
        """
        with self._changed:
            self._hypervisor = hypervisor
            self._problems = problems
            self._devices = devices
            self._identified = identified
            self._sync_wanted = True
            self._changed.notify()

    def servers(self, domains: Iterable[Domain] | None) -> None:
        """Set all domains of the host, None: unknown. Reported with the next sync."""
        found = None
        if domains is not None:
            found = {domain.uuid: Server(domain.running, domain.usb_ports) for domain in domains}
        with self._changed:
            self._servers = found

    def outcomes(self, outcomes: Iterable[ClaimStatus], request_ids: Mapping[str, str]) -> None:
        """Set the statuses of the claims.

        :param request_ids: device id -> the id of the request that last changed its claim.
        """
        told = {outcome.device_id: outcome for outcome in outcomes}
        with self._changed:
            if self._sync_wanted:
                self._next_outcomes = told
            else:
                self._outcomes = told
            self._request_ids = dict(request_ids)
            metrics.outcomes_queued.set(len(self._untold()))
            self._changed.notify()

    def stop(self) -> None:
        """Let `run` return."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def run(self, deliver: Callable[[list[Claim]], None]) -> None:
        """Sync and report until `stop`.

        :param deliver: takes the claims on all known devices of this host.
        """
        due = time.monotonic()
        while self._wait(due):
            try:
                if self._sync_due(due):
                    self._sync(deliver)
                    due = time.monotonic() + self._interval
                self._report()
            except oslo_messaging.MessagingException as error:
                LOG.warning("The conductor does not answer; next try in %s s: %s", _RETRY_SECONDS, error)
                due = self._fail()
            except Exception:
                # Whatever the conductor answered, the host's agent goes on and asks again.
                LOG.exception("The conductor refused; next try in %s s", _RETRY_SECONDS)
                due = self._fail()

    def _wait(self, due: float) -> bool:
        """Wait for changes or for the next sync; False if the reporter is stopped."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._stopping
                    or (self._devices is not None and bool(self._sync_wanted or self._untold()))
                ),
                timeout=max(0.0, due - time.monotonic()) if self._devices is not None else None,
            )
            return not self._stopping

    def _sync_due(self, due: float) -> bool:
        return self._sync_wanted or time.monotonic() >= due

    def _fail(self) -> float:
        """Wait before the next attempt, which begins with a sync; returns the time of that sync."""
        metrics.syncs.labels("failed").inc()
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, timeout=_RETRY_SECONDS)
        self._told.clear()
        return time.monotonic()

    def _sync(self, deliver: Callable[[list[Claim]], None]) -> None:
        with self._changed:
            self._sync_wanted = False
            hypervisor, devices, problems = self._hypervisor, self._devices, self._problems
            servers, identified = self._servers, self._identified
            if self._next_outcomes is not None:
                self._outcomes, self._next_outcomes = self._next_outcomes, None
        claims = self._conductor.sync(hypervisor, devices or [], problems, servers, identified=identified)
        metrics.syncs.labels("done").inc()
        if identified and not self._announced:
            self._announced = True
            LOG.info("The conductor knows the devices of this host: %s", len(devices or []))
        self._learn(claims)
        deliver(claims)

    def _learn(self, claims: Iterable[Claim]) -> None:
        """Compare with the statuses in the database, and report those that differ again.

        Reports can arrive out of order, and the conductor can have located a server.
        """
        self._claims = {claim.device_id: claim for claim in claims if claim.server_id is not None}
        for claim in self._claims.values():
            told = self._told.get(claim.device_id)
            if told is not None and told.generation == claim.generation and not _says(claim, told):
                del self._told[claim.device_id]

    def _untold(self) -> list[ClaimStatus]:
        """The statuses that were not reported yet."""
        return [outcome for outcome in self._outcomes.values() if not self._is_known(outcome)]

    def _is_known(self, outcome: ClaimStatus) -> bool:
        told = self._told.get(outcome.device_id)
        if told is not None:
            return told == outcome
        claim = self._claims.get(outcome.device_id)
        return claim is not None and claim.generation == outcome.generation and _is_kept(outcome, claim)

    def _report(self) -> None:
        with self._changed:
            news = self._untold()
            request_ids = {self._request_ids.get(outcome.device_id) for outcome in news}
        if news:
            # The log of the conductor has one request for a message.
            self._conductor.report(news, request_ids.pop() if len(request_ids) == 1 else None)
            self._told |= {outcome.device_id: outcome for outcome in news}
            metrics.outcomes_queued.set(len(self._untold()))


def _says(claim: Claim, told: ClaimStatus) -> bool:
    """Whether the database has the reported status."""
    # A conductor of RPC 1.0 answers with a text, which need not have a code.
    is_text_only = claim.reason_code is None and claim.reason is not None
    return claim.state == told.state and (is_text_only or claim.reason_code == told.reason_code)


def _is_kept(outcome: ClaimStatus, claim: Claim) -> bool:
    """Whether the database has the status that the agent would report, or a more precise one.

    That the host has no domain for a server is the least precise status.
    """
    # The claim does not tell which port the database has.
    if outcome.state != claim.state or outcome.port is not None:
        return False
    if outcome.reason_code in SERVER_ABSENT and claim.reason_code in _BETTER_KNOWN:
        return True
    return outcome.reason_code == claim.reason_code
