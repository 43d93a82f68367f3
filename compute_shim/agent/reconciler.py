# SPDX-License-Identifier: Apache-2.0
"""Reconciles a host with its claims: observe, plan, execute, report."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from oslo_log import log

from compute_shim.agent import executor, metrics, planner
from compute_shim.agent.backoff import Backoff
from compute_shim.agent.discovery import Discovery
from compute_shim.agent.events import (
    ClaimsArrived,
    DeviceBound,
    DevicesChanged,
    DomainChanged,
    Event,
    RelaysChanged,
    Resync,
)
from compute_shim.agent.relays import Relays
from compute_shim.agent.reporter import Reporter
from compute_shim.agent.snapshot import Snapshot
from compute_shim.agent.wiper import Wiper
from compute_shim.hypervisor.base import Domain, Driver
from compute_shim.objects import Claim, Device, Reason, ReasonCode

LOG = log.getLogger(__name__)


class Reconciler:
    """The actual and the desired state of a host. For one thread.

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
        reset_device: Callable[[Device], None],
        shield: Callable[[Collection[Device]], None],
        wiper: Wiper,
        relays: Relays,
        problems: Callable[[], list[str]],
    ) -> None:
        self._driver = driver
        self._discovery = discovery
        self._reporter = reporter
        self._reset_device = reset_device
        self._shield = shield
        self._wiper = wiper
        self._relays = relays
        self._problems = problems
        self._backoff = Backoff()
        self._replugs = metrics.Replugs()
        self._claims: dict[str, Claim] | None = None
        self._devices: list[Device] | None = None
        # The claims by which the devices were identified last.
        self._identified_by: dict[str, Claim] | None = None
        self._domains: dict[str, Domain] | None = None
        self._shield_due = False
        self._told_devices: list[Device] | None = None
        self._told_problems: list[str] = []
        self._told_identified = False
        # What became of the reset of a device that was given back. Who starts anew resets it once more: the
        # claim says that it is due until it is known to be free.
        self._resets: dict[str, Reason] = {}
        # Device id -> the request that made its claim what it is.
        self._request_ids: dict[str, str] = {}

    def observe(self, events: Sequence[Event]) -> None:
        """Read the state that the events name.

        :raises compute_shim.hypervisor.base.HypervisorUnavailable: the daemon is unavailable
        """
        knew_all = self._claims is not None and self._domains is not None
        for event in events:
            if isinstance(event, ClaimsArrived):
                self._merge(event)
        everything = not knew_all or any(isinstance(event, Resync) for event in events)
        if everything:
            changed = self._update_domains({domain.uuid: domain for domain in self._driver.domains()})
        else:
            changed = self._read_domains({event.uuid for event in events if isinstance(event, DomainChanged)})
        # A device that a domain has let go of was perhaps pulled out, and the event is still to come.
        if (
            everything
            or any(map(_misses_ours, changed))
            or any(isinstance(event, DeviceBound | DevicesChanged | RelaysChanged) for event in events)
        ):
            self._devices = self._discovery.scan(self._own_claims())
            self._identified_by = self._claims
            self._shield_due = True
        elif self._claims != self._identified_by:
            self._identify()
        if everything or any(isinstance(event, DevicesChanged) for event in events):
            self._tell_devices()

    def reconcile(self) -> None:
        """Make the observed host match its claims, report the status of each claim, and shield free devices.

        The shield comes last: to take the host's driver off a disk that was just plugged in takes several
        times as long as an attach, which does the same.

        :raises compute_shim.hypervisor.base.HypervisorUnavailable: the connection to the daemon was lost
        """
        try:
            self._fulfil_claims()
        finally:
            self._shield_devices()

    def waits_for_server(self) -> bool:
        """Whether an action waits for a migration or save, whose end causes no event."""
        return self._backoff.waits_for_server()

    def hypervisor_lost(self) -> None:
        """Discard the domains, and do not report any, until the hypervisor is available again."""
        self._domains = None
        self._reporter.servers(None)

    def _fulfil_claims(self) -> None:
        # Without a word from the conductor nobody knows what is wanted, so nothing may be taken out.
        if self._claims is None or self._devices is None or self._domains is None:
            return
        before = Snapshot(
            self._claims.values(), self._devices, self._domains.values(), self._relays.observe()
        )
        self._relays.want(planner.relays(before))
        before = before.with_relays(self._relays.observe())
        after = self._execute(before, self._domains)
        self._reset(after)
        self._wiper.want(planner.wipes(after))
        self._tell_statuses(after)

    def _shield_devices(self) -> None:
        """Update the shield, if the devices were scanned since."""
        if self._shield_due:
            lent = self._wiper.ports()
            self._shield([device for device in self._devices or [] if device.port not in lent])
            self._shield_due = False

    def _merge(self, arrived: ClaimsArrived) -> None:
        """Merge newer claims; discard devices that a complete list does not contain."""
        if self._claims is None and not arrived.complete:
            return  # the list that is on its way has this one too
        known = self._claims or {}
        merged = {} if arrived.complete else dict(known)
        for claim in arrived.claims:
            old = known.get(claim.device_id)
            claim = claim if old is None else claim.completed(old)
            merged[claim.device_id] = old if old and old.generation > claim.generation else claim
            if old is None or old.generation < claim.generation:
                self._backoff.forget(claim.device_id)
                self._resets.pop(claim.device_id, None)
                self._request_ids.pop(claim.device_id, None)
            if arrived.request_id and merged[claim.device_id] is claim:
                self._request_ids[claim.device_id] = arrived.request_id
        self._claims = merged

    def _own_claims(self) -> list[Claim]:
        """The claims on devices of this host; others say nothing about what is plugged in here."""
        return [claim for claim in (self._claims or {}).values() if claim.address is None]

    def _identify(self) -> None:
        """Identify the devices by the new claims, and report them again if they were reported."""
        before, self._devices = self._devices, self._discovery.identify(self._own_claims())
        self._identified_by = self._claims
        if before == self._told_devices:
            self._tell_devices()

    def _read_domains(self, uuids: Iterable[str]) -> list[Domain]:
        """Read some domains again; returns the changed ones."""
        if self._domains is None or not uuids:
            return []
        found = {uuid: self._driver.domain(uuid) for uuid in uuids}
        return self._update_domains(_updated(self._domains, found))

    def _update_domains(self, domains: dict[str, Domain]) -> list[Domain]:
        """Update the domains; actions that a domain refused are retried when it has changed.

        :returns: the domains that have changed
        """
        before, self._domains = self._domains or {}, domains
        changed = [uuid for uuid in before.keys() | domains.keys() if before.get(uuid) != domains.get(uuid)]
        for uuid in changed:
            self._backoff.retry(uuid)
        self._reporter.servers(domains.values())
        return [domains[uuid] for uuid in changed if uuid in domains]

    def _tell_devices(self) -> None:
        devices, problems = self._devices or [], [*self._driver.problems(), *self._problems()]
        identified = self._claims is not None
        news = (devices, problems, identified)
        if news != (self._told_devices, self._told_problems, self._told_identified):
            self._reporter.devices(self._driver.name(), devices, problems, identified=identified)
            for problem in problems if problems != self._told_problems else ():
                LOG.warning("%s", problem)
            self._told_devices, self._told_problems, self._told_identified = news

    def _execute(self, host: Snapshot, domains: Mapping[str, Domain]) -> Snapshot:
        """Execute the plan; returns the resulting state of the host."""
        busy = self._wiper.busy()
        actions = [
            action
            for action in planner.plan(host)
            if self._backoff.due(action)
            and not (isinstance(action, planner.Attach) and action.device_id == busy)
        ]
        if not actions:
            return host
        done = executor.execute(
            actions, domains, self._driver, self._discovery.confirm, self._request_ids, self._relays
        )
        after = _updated(domains, done.domains)
        self._update_domains(after)
        self._backoff.record(actions, done.refusals)
        return host.with_domains(after.values())

    def _reset(self, host: Snapshot) -> None:
        for reset in planner.resets(host, self._resets):
            self._resets[reset.device_id] = executor.reset(
                reset, self._discovery.refresh, self._reset_device, self._request_ids
            )

    def _tell_statuses(self, host: Snapshot) -> None:
        # Nobody is told that a device is attached before it is told that it is there.
        if self._devices == self._told_devices:
            refusals = self._relays.refusals() | self._backoff.reasons()
            busy = self._wiper.busy()
            if busy is not None:
                refusals[busy] = Reason(ReasonCode.WIPING)
            wipes = {key: (it.percent, it.why) for key, it in self._wiper.progress().items()}
            statuses = planner.statuses(host, refusals, self._resets, wipes)
            self._replugs.see(host.plugged_ids(), statuses)
            self._reporter.outcomes(statuses, self._request_ids)


def _updated(domains: Mapping[str, Domain], found: Mapping[str, Domain | None]) -> dict[str, Domain]:
    """All domains, updated by those that were read again; None: the domain is no longer on the host."""
    return {uuid: domain for uuid, domain in {**domains, **found}.items() if domain is not None}


def _misses_ours(domain: Domain) -> bool:
    """Whether a domain lacks a device that it should have."""
    return any(hostdev.missing and hostdev.device_id is not None for hostdev in domain.live)
