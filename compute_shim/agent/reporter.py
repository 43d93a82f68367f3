# SPDX-License-Identifier: Apache-2.0
"""The agent's conversation with the conductor, on a thread of its own.

A message bus that is away must never delay what has to be done on the host.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

import oslo_messaging
from oslo_log import log

from compute_shim.objects import SERVER_ABSENT, Claim, Device, Outcome
from compute_shim.rpc import ConductorClient

LOG = log.getLogger(__name__)

_RETRY_SECONDS = 5


class Reporter:
    """Carries away what is plugged and what became of the claims, and brings the claims.

    :param interval: seconds between two syncs, each of which is a sign of life.
    """

    def __init__(self, conductor: ConductorClient, interval: float) -> None:
        self._conductor = conductor
        self._interval = interval
        self._changed = threading.Condition()
        self._hypervisor = ""
        self._problems: list[str] = []
        self._devices: list[Device] | None = None
        self._outcomes: dict[str, Outcome] = {}
        self._told: dict[str, Outcome] = {}
        self._sync_wanted = False
        self._stopping = False

    def devices(self, hypervisor: str, devices: list[Device], problems: list[str]) -> None:
        """These are plugged now.

        :param hypervisor: its name and version, for people.
        :param problems: what the operator of this host has to mend.
        """
        with self._changed:
            self._hypervisor = hypervisor
            self._problems = problems
            self._devices = devices
            self._sync_wanted = True
            self._changed.notify()

    def outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """This became of the claims."""
        with self._changed:
            self._outcomes = {outcome.device_id: outcome for outcome in outcomes}
            self._changed.notify()

    def stop(self) -> None:
        """Let `run` return."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def run(self, deliver: Callable[[list[Claim]], None]) -> None:
        """Carry messages until `stop`.

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
                due = self._pause()
            except Exception:
                # Whatever the conductor answered, the host's agent goes on and asks again.
                LOG.exception("The conductor refused; next try in %s s", _RETRY_SECONDS)
                due = self._pause()

    def _wait(self, due: float) -> bool:
        """Wait for news or for the time of the next sync; False when it is time to stop."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._stopping or (self._devices is not None and bool(self._sync_wanted or self._news()))
                ),
                timeout=max(0.0, due - time.monotonic()) if self._devices is not None else None,
            )
            return not self._stopping

    def _sync_due(self, due: float) -> bool:
        return self._sync_wanted or time.monotonic() >= due

    def _pause(self) -> float:
        """Wait before the next try, which begins with a sync; returns the time at which that is due."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, timeout=_RETRY_SECONDS)
        self._told.clear()
        return time.monotonic()

    def _news(self) -> list[Outcome]:
        return [
            outcome for outcome in self._outcomes.values() if self._told.get(outcome.device_id) != outcome
        ]

    def _sync(self, deliver: Callable[[list[Claim]], None]) -> None:
        with self._changed:
            self._sync_wanted = False
            hypervisor, devices, problems = self._hypervisor, self._devices, self._problems
        claims = self._conductor.sync(hypervisor, devices or [], problems)
        self._forget_what_was_not_kept(claims)
        deliver(claims)

    def _forget_what_was_not_kept(self, claims: Iterable[Claim]) -> None:
        """A report may have arrived after a newer one: where the database says otherwise, tell again."""
        for claim in claims:
            told = self._told.get(claim.device_id)
            if (
                claim.server_id is not None
                and told is not None
                and told.generation == claim.generation
                and not _is_kept(told, claim)
            ):
                del self._told[claim.device_id]

    def _report(self) -> None:
        with self._changed:
            news = self._news()
        if news:
            self._conductor.report(news)
            self._told |= {outcome.device_id: outcome for outcome in news}


def _is_kept(told: Outcome, claim: Claim) -> bool:
    """Whether the database says what it was told, or what the conductor found out since."""
    if told.reason_code in SERVER_ABSENT and claim.reason_code in SERVER_ABSENT:
        return told.state == claim.state
    return (told.state, told.reason_code) == (claim.state, claim.reason_code)
