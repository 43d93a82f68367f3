# SPDX-License-Identifier: Apache-2.0
"""The agent's two threads, with a host and a conductor in memory."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import oslo_messaging
import pytest

from compute_shim.agent import agent as agent_module
from compute_shim.agent import backoff
from compute_shim.agent import reporter as reporter_module
from compute_shim.agent.agent import Agent
from compute_shim.agent.events import ClaimsArrived, DomainChanged, Resync
from compute_shim.agent.planner import Wipe
from compute_shim.agent.reporter import Reporter
from compute_shim.agent.service import Endpoint
from compute_shim.agent.wiper import Progress
from compute_shim.hypervisor.base import Domain, Hostdev, HypervisorError
from compute_shim.objects import Claim, ClaimStatus, Device, Reason, ReasonCode, Server, State
from tests.functional import recorded
from tests.unit.agent.model import FakeDriver, claim, device, ours

SERVER = "00000000-0000-0000-0000-000000000001"
OTHER = "00000000-0000-0000-0000-000000000002"
NEVER = 3600.0
REFUSED = ReasonCode.HYPERVISOR_ERROR


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does; fails after a time that is far beyond any load."""
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.01)


class FakeDiscovery:
    def __init__(self, devices: list[Device]) -> None:
        self.devices = devices
        self.identified = 0

    def scan(self, claims: Collection[Claim]) -> list[Device]:
        self.scanned = list(self.devices)
        return self.scanned

    def identify(self, claims: Collection[Claim]) -> list[Device]:
        self.identified += 1
        return self.scanned

    def refresh(self, plugged: Device) -> Device | None:
        return plugged if plugged in self.devices else None

    def confirm(self, plugged: Device) -> Device | None:
        return self.refresh(plugged)


class FakeConductor:
    """Holds claims and takes reports; can be away."""

    def __init__(self, claims: list[Claim]) -> None:
        self.claims = claims
        self.away = False
        self.seen: list[list[Device]] = []
        self.identified: list[bool] = []
        self.servers: list[Mapping[str, Server] | None] = []
        self.request_ids: dict[str, str | None] = {}
        self.outcomes: dict[str, ClaimStatus] = {}
        self.reports = 0
        # Said to be attached when the last list of plugged devices was empty.
        self.attached_unseen: list[ClaimStatus] = []

    def sync(
        self,
        hypervisor: str,
        devices: Iterable[Device],
        problems: Iterable[str],
        servers: Mapping[str, Server] | None,
        *,
        identified: bool,
    ) -> list[Claim]:
        self._answer()
        self.identified.append(identified)
        if identified:
            self.servers.append(servers)
            self.seen.append(list(devices))
        self.problems = list(problems)
        return list(self.claims)

    def report(self, outcomes: Iterable[ClaimStatus], request_id: str | None = None) -> None:
        self._answer()
        self.reports += 1
        outcomes = list(outcomes)
        self.request_ids |= {outcome.device_id: request_id for outcome in outcomes}
        if not self.seen[-1]:
            self.attached_unseen += [outcome for outcome in outcomes if outcome.state == "attached"]
        self.outcomes |= {outcome.device_id: outcome for outcome in outcomes}

    def states(self) -> dict[str, str]:
        return {device_id: str(outcome.state) for device_id, outcome in self.outcomes.items()}

    def _answer(self) -> None:
        if self.away:
            raise oslo_messaging.MessagingTimeout("away")


class FakeWiper:
    """Wipes as the test says."""

    def __init__(self) -> None:
        self.wanted: set[str] = set()
        self.known: dict[str, Progress] = {}
        self.writing: str | None = None
        self.changed: Callable[[], None] = lambda: None

    def listen(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    def want(self, wipes: Iterable[Wipe]) -> None:
        self.wanted = {wipe.device_id for wipe in wipes}

    def progress(self) -> dict[str, Progress]:
        return self.known

    def busy(self) -> str | None:
        return self.writing

    def ports(self) -> list[str]:
        return ["2-1"] if "device-1" in self.wanted else []

    def tell(self, percent: int, why: Reason) -> None:
        """How far the first device is."""
        self.known = {"device-1": Progress(percent, why)}
        self.changed()


class World:
    """One host with its agent."""

    def __init__(self, claims: list[Claim], devices: list[Device], domains: list[Domain]) -> None:
        self.driver = FakeDriver(domains, devices)
        self.discovery = FakeDiscovery(devices)
        self.conductor = FakeConductor(claims)
        self.reporter = Reporter(self.conductor, NEVER)  # type: ignore[arg-type]
        self.resets: list[tuple[Device, bool]] = []
        self.reset_error: OSError | None = None
        self.shielded: list[Collection[Device]] = []
        self.held_when_shielded: list[tuple[Hostdev, ...]] = []
        self.wiper = FakeWiper()
        self.agent = Agent(
            self.driver,
            self.discovery,  # type: ignore[arg-type]
            self.reporter,
            NEVER,
            self.reset,
            self.shield,
            self.wiper,  # type: ignore[arg-type]
        )
        self.endpoint = Endpoint(self.agent)
        self.threads = [
            threading.Thread(target=self.agent.run),
            threading.Thread(
                target=self.reporter.run,
                args=(lambda found: self.agent.claims_arrived(found, complete=True),),
            ),
        ]

    def start(self) -> World:
        for thread in self.threads:
            thread.start()
        return self

    def shield(self, devices: Collection[Device]) -> None:
        self.held_when_shielded.append(self.held() if SERVER in self.driver.state else ())
        self.shielded.append(devices)

    def stop(self) -> None:
        self.agent.stop()
        self.reporter.stop()
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive()

    def reset(self, plugged: Device) -> None:
        """What the kernel does; notes whether a domain had the device."""
        held = any(hostdev.holds(plugged) for domain in self.driver.state.values() for hostdev in domain.live)
        self.resets.append((plugged, held))
        if self.reset_error is not None:
            raise self.reset_error

    def held(self, server: str = SERVER) -> tuple[Hostdev, ...]:
        return self.driver.state[server].live


def running(*live: Hostdev, uuid: str = SERVER) -> Domain:
    return Domain(uuid, "instance-1", True, live)


def outcome(
    generation: int, state: State, code: ReasonCode | None = None, details: str | None = None
) -> ClaimStatus:
    """What became of the claim on device-1."""
    return ClaimStatus.of(claim(1, None, generation), state, Reason(code, details) if code else None)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., World]]:
    monkeypatch.setattr(agent_module, "_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(backoff, "_FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(agent_module, "_BUSY_SECONDS", 0.05)
    monkeypatch.setattr(reporter_module, "_RETRY_SECONDS", 0.05)
    made: list[World] = []

    def make(claims: list[Claim], devices: list[Device], domains: list[Domain]) -> World:
        made.append(World(claims, devices, domains))
        return made[-1]

    yield make
    for item in made:
        if item.threads[0].ident is not None:
            item.stop()


def test_a_claim_is_fulfilled_and_reported(world: Callable[..., World]) -> None:
    it = world([claim(1, None)], [device(1)], [running()]).start()
    until(lambda: it.conductor.states() == {"device-1": "available"})
    it.endpoint.claim_changed({}, vars(claim(1, SERVER, generation=2)))
    until(lambda: it.conductor.outcomes["device-1"] == ClaimStatus("device-1", 2, "attached"))
    assert it.held() == (ours(1),)


def test_a_claim_given_up_is_detached_and_reported(world: Callable[..., World]) -> None:
    it = world([claim(1, SERVER)], [device(1)], [running()]).start()
    until(lambda: it.conductor.states() == {"device-1": "attached"})
    it.endpoint.claim_changed({}, vars(claim(1, None, generation=2)))
    until(lambda: it.conductor.outcomes["device-1"] == ClaimStatus("device-1", 2, "available"))
    assert it.held() == ()


def test_a_late_message_changes_nothing(world: Callable[..., World]) -> None:
    it = world([claim(1, SERVER, generation=5)], [device(1)], [running(), running(uuid=OTHER)]).start()
    until(lambda: it.conductor.states() == {"device-1": "attached"})
    it.endpoint.claim_changed({}, vars(claim(1, OTHER, generation=4)))
    it.endpoint.claim_changed({}, vars(claim(2, None, generation=1)))
    until(lambda: "device-2" in it.conductor.outcomes)
    assert it.held() == (ours(1),)
    assert it.held(OTHER) == ()


def test_nothing_is_taken_out_before_the_conductor_has_spoken(world: Callable[..., World]) -> None:
    """After a restart with the message bus away, every hostdev of ours looks unclaimed."""
    it = world([claim(1, SERVER)], [device(1)], [running(ours(1))])
    it.conductor.away = True
    it.start()
    it.endpoint.claim_changed({}, vars(claim(2, None)))
    it.driver.on_change(SERVER)
    time.sleep(0.2)
    assert it.driver.calls == []
    it.conductor.away = False
    until(lambda: it.conductor.states() == {"device-1": "attached"})
    assert it.driver.calls == []


def test_an_agent_killed_while_attaching_ends_where_it_would_have(world: Callable[..., World]) -> None:
    """The new one finds the hostdev in the domain, or not: both ways it comes out the same."""
    for before in (running(), running(ours(1))):
        it = world([claim(1, SERVER, generation=3)], [device(1)], [before]).start()
        until(lambda it=it: it.conductor.outcomes == {"device-1": ClaimStatus("device-1", 3, "attached")})
        assert it.held() == (ours(1),)


def test_a_hostdev_that_no_claim_names_is_removed(world: Callable[..., World]) -> None:
    it = world([], [device(1)], [running(ours(1))]).start()
    until(lambda: it.held() == ())


def test_a_replug_is_followed(world: Callable[..., World]) -> None:
    it = world([claim(1, SERVER)], [device(1)], [running()]).start()
    until(lambda: it.conductor.states() == {"device-1": "attached"})
    it.discovery.devices = []
    it.agent.devices_changed()
    until(lambda: it.conductor.states() == {"device-1": "waiting"})
    assert it.held() == ()
    replugged = device(1, device=9)
    it.driver.addresses.add((2, 9))
    it.discovery.devices = [replugged]
    it.agent.devices_changed()
    until(lambda: it.conductor.states() == {"device-1": "attached"})
    assert it.held() == (ours(1, replugged),)
    assert it.conductor.seen == [[device(1)], [], [replugged]]


def test_a_device_that_the_hypervisor_misses_before_udev_does_has_not_failed(
    world: Callable[..., World],
) -> None:
    it = world([claim(1, SERVER)], [device(1)], [running()]).start()
    until(lambda: it.conductor.states() == {"device-1": "attached"})
    told: list[str] = []
    report = it.conductor.report

    def keep(outcomes: Iterable[ClaimStatus], request_id: str | None = None) -> None:
        outcomes = list(outcomes)
        told.extend(str(outcome.state) for outcome in outcomes)
        report(outcomes, request_id)

    it.conductor.report = keep  # type: ignore[method-assign]
    it.discovery.devices = []
    it.driver.state[SERVER] = running(dataclasses.replace(ours(1), missing=True))
    it.driver.on_change(SERVER)
    until(lambda: it.held() == ())
    it.driver.on_change(SERVER)
    it.agent.devices_changed()
    until(lambda: it.conductor.states() == {"device-1": "waiting"})
    assert told == ["waiting"]


def test_each_look_at_the_devices_is_told_to_the_shield(world: Callable[..., World]) -> None:
    """Also the one at which a driver of the host has taken a device."""
    it = world([], [device(1)], []).start()
    # Once as it starts, and once when the claims have come.
    until(lambda: it.shielded == 2 * [[device(1)]])
    it.agent.device_bound()
    until(lambda: it.shielded == 3 * [[device(1)]])


def to_wipe(generation: int = 1, wiped: int = 0) -> Claim:
    """Nobody has device-1, and it is to be wiped."""
    return claim(1, None, generation, wiped=wiped, state="unavailable")


def test_a_device_is_wiped_and_that_is_told(world: Callable[..., World]) -> None:
    it = world([to_wipe()], [device(1)], []).start()
    until(lambda: it.wiper.wanted == {"device-1"})
    it.wiper.tell(40, Reason(ReasonCode.WIPING))
    why = Reason(ReasonCode.WIPING)
    told = dataclasses.replace(ClaimStatus.of(to_wipe(), State.UNAVAILABLE, why), wiped=40)
    until(lambda: it.conductor.outcomes.get("device-1") == told)
    it.wiper.tell(100, Reason(ReasonCode.WIPED))
    why = Reason(ReasonCode.WIPED)
    told = dataclasses.replace(ClaimStatus.of(to_wipe(), State.AVAILABLE, why), wiped=100)
    until(lambda: it.conductor.outcomes.get("device-1") == told)


@pytest.mark.parametrize(
    ("claims", "devices", "domains"),
    [
        ([to_wipe()], [device(1, blocked_code="host_mount", blocked_reason="mounted")], []),
        ([to_wipe()], [], []),
        ([claim(1, SERVER, wiped=0)], [device(1)], [running()]),
        ([claim(1, None, wiped=0, state="detaching")], [device(1)], []),
        ([claim(1, None)], [device(1)], []),
    ],
    ids=["used by the host", "unplugged", "claimed", "not yet reset", "not to be wiped"],
)
def test_what_is_not_wiped(
    world: Callable[..., World], claims: list[Claim], devices: list[Device], domains: list[Domain]
) -> None:
    it = world(claims, devices, domains)
    looked: list[set[str]] = []
    it.wiper.want = lambda wipes: looked.append({wipe.device_id for wipe in wipes})  # type: ignore[method-assign]
    it.start()
    until(lambda: len(looked) > 0)
    assert looked[0] == set()


def test_a_device_that_is_still_written_to_is_not_attached(world: Callable[..., World]) -> None:
    """An administrator released it, and a server has it at once."""
    it = world([claim(1, SERVER)], [device(1)], [running()])
    it.wiper.writing = "device-1"
    it.start()
    until(lambda: it.conductor.states() == {"device-1": "waiting"})
    assert it.conductor.outcomes["device-1"].reason_code == ReasonCode.WIPING
    assert it.held() == ()
    it.wiper.writing = None
    it.wiper.changed()
    until(lambda: it.held() == (ours(1),))


def test_the_shield_leaves_the_driver_to_the_wiper(world: Callable[..., World]) -> None:
    it = world([to_wipe()], [device(1), device(2)], []).start()
    until(lambda: it.wiper.wanted == {"device-1"})
    it.agent.device_bound()
    until(lambda: it.shielded[-1:] == [[device(2)]])
    it.conductor.claims = [claim(1, None, 2)]
    it.agent.claims_arrived(it.conductor.claims, complete=True)
    until(lambda: it.wiper.wanted == set())
    it.agent.device_bound()
    until(lambda: it.shielded[-1:] == [[device(1), device(2)]])


def test_a_claimed_device_is_attached_before_the_shield_sees_it(world: Callable[..., World]) -> None:
    """To take the host's driver off a disk takes several times as long as the attach, which does that too."""
    it = world([claim(1, SERVER)], [], [running()]).start()
    until(lambda: it.shielded == 2 * [[]])
    it.driver.addresses.add((device(1).bus, device(1).device))
    it.discovery.devices = [device(1)]
    it.agent.device_bound()
    until(lambda: it.shielded[-1:] == [[device(1)]])
    assert it.held_when_shielded == [(), (), (ours(1),)]


def test_a_device_is_attached_before_udev_knows_its_name(world: Callable[..., World]) -> None:
    it = world([claim(1, SERVER)], [], [running()]).start()
    until(lambda: it.conductor.states() == {"device-1": "waiting"})
    it.driver.addresses.add((device(1).bus, device(1).device))
    it.discovery.devices = [device(1, name="")]
    it.agent.device_bound()
    until(lambda: it.held() == (ours(1),))
    it.driver.on_change(SERVER)
    it.discovery.devices = [device(1)]
    it.agent.devices_changed()
    until(lambda: it.conductor.states() == {"device-1": "attached"})
    assert it.conductor.seen == [[], [device(1)]]
    assert it.conductor.attached_unseen == []


def test_what_was_seen_before_the_claims_came_is_told_again_by_them(world: Callable[..., World]) -> None:
    """Until then the agent cannot say which known device each one is."""
    it = world([claim(1, SERVER)], [device(1)], [running()]).start()
    until(lambda: it.conductor.states() == {"device-1": "attached"})
    assert it.conductor.identified == [False, True]


class TwoFaced(FakeDiscovery):
    """What is plugged in is another device by the claims than without them."""

    def identify(self, claims: Collection[Claim]) -> list[Device]:
        device_id = next((claim.device_id for claim in claims), None)
        return [dataclasses.replace(found, device_id=device_id) for found in self.scanned]

    def refresh(self, plugged: Device) -> Device | None:
        return plugged


def test_claims_that_arrive_identify_anew_and_that_is_told(world: Callable[..., World]) -> None:
    it = world([], [device(1, device_id=None)], [running()])
    it.agent._reconciler._discovery = TwoFaced(it.discovery.devices)  # type: ignore[assignment]
    it.start()
    until(lambda: it.conductor.seen == [[device(1, device_id=None)]])
    it.conductor.claims = [claim(1, SERVER)]
    it.agent.claims_arrived(it.conductor.claims, complete=False)
    until(lambda: it.conductor.states() == {"device-1": "attached"})
    assert it.conductor.seen[-1] == [device(1)]


def test_claims_that_are_known_already_identify_nothing(world: Callable[..., World]) -> None:
    """Each heartbeat brings them again."""
    it = world([], [device(1)], [running()])
    known, more = [claim(1, SERVER)], [claim(1, SERVER), claim(2, None)]
    it.agent._reconciler.observe([Resync(), ClaimsArrived(tuple(known), complete=True)])
    it.agent._reconciler.observe([ClaimsArrived(tuple(known), complete=True)])
    assert it.discovery.identified == 0
    it.agent._reconciler.observe([ClaimsArrived(tuple(more), complete=True)])
    assert it.discovery.identified == 1


def test_claims_of_a_pass_that_failed_identify_in_the_next(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = world([], [device(1)], [running()])
    known, more = [claim(1, SERVER)], [claim(1, SERVER), claim(2, None)]
    it.agent._reconciler.observe([Resync(), ClaimsArrived(tuple(known), complete=True)])

    def refuse(uuid: str) -> None:
        raise HypervisorError("it cannot be read")

    with monkeypatch.context() as patched:
        patched.setattr(it.driver, "domain", refuse)
        with pytest.raises(HypervisorError):
            it.agent._reconciler.observe([ClaimsArrived(tuple(more), complete=True), DomainChanged(SERVER)])
    it.agent._reconciler.observe([ClaimsArrived(tuple(more), complete=True)])
    assert it.discovery.identified == 1


def test_a_started_server_gets_its_device(world: Callable[..., World]) -> None:
    it = world([claim(1, SERVER)], [device(1)], [Domain(SERVER, "instance-1", False)]).start()
    until(lambda: it.conductor.outcomes == {"device-1": outcome(1, State.WAITING, ReasonCode.SERVER_OFF)})
    it.driver.state[SERVER] = running()
    it.driver.on_change(SERVER)
    until(lambda: it.conductor.states() == {"device-1": "attached"})


def test_a_deleted_server_is_forgotten(world: Callable[..., World]) -> None:
    it = world([claim(1, SERVER)], [device(1)], [running()]).start()
    until(lambda: it.conductor.states() == {"device-1": "attached"})
    del it.driver.state[SERVER]
    it.driver.on_change(SERVER)
    until(lambda: it.conductor.outcomes["device-1"].reason_code == ReasonCode.DOMAIN_ABSENT)


def test_a_refusal_is_reported_and_not_repeated_at_once(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused attach makes events; answering each with another try would never end."""
    monkeypatch.setattr(backoff, "_FIRST_PAUSE_SECONDS", NEVER)
    it = world([claim(1, SERVER)], [device(1)], [running()])
    it.driver.refuse = "No free USB ports"
    it.start()
    until(
        lambda: it.conductor.outcomes == {"device-1": outcome(1, State.FAILED, REFUSED, "No free USB ports")}
    )
    for _ in range(3):
        it.driver.on_change(SERVER)
    it.endpoint.claim_changed({}, vars(claim(2, None)))
    until(lambda: "device-2" in it.conductor.outcomes)
    assert it.driver.calls == [("attach", SERVER, "device-1")]
    assert it.conductor.outcomes["device-1"].reason == "No free USB ports"

    it.driver.refuse = None
    it.endpoint.claim_changed({}, vars(claim(1, SERVER, generation=2)))
    until(lambda: it.conductor.outcomes["device-1"] == ClaimStatus("device-1", 2, "attached"))


def test_what_a_server_refused_is_tried_again_when_the_server_has_changed(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another device left it, for one, and so a port is free."""
    monkeypatch.setattr(backoff, "_FIRST_PAUSE_SECONDS", NEVER)
    monkeypatch.setattr(backoff, "_LONGEST_PAUSE_SECONDS", NEVER)
    by_hand = Hostdev("hostdev0", 1, 7)
    it = world([claim(1, SERVER)], [device(1)], [running(by_hand)])
    it.driver.refuse = "No free USB ports"
    it.start()
    until(lambda: it.conductor.states() == {"device-1": "failed"})
    it.driver.refuse = None
    it.driver.state[SERVER] = running()
    it.driver.on_change(SERVER)
    until(lambda: it.conductor.states() == {"device-1": "attached"})


def test_what_is_refused_again_and_again_is_tried_less_and_less_often(world: Callable[..., World]) -> None:
    it = world([claim(1, SERVER)], [device(1)], [running()])
    it.driver.refuse = "failed to open host usb device"
    pauses = []
    it.start()
    for tries in range(1, 5):

        def tried(tries: int = tries) -> bool:
            it.driver.on_change(SERVER)
            return len(it.driver.calls) >= tries

        until(tried)
        until(lambda: bool(it.agent._reconciler._backoff._refusals))
        pauses.append(it.agent._reconciler._backoff._refusals["device-1"].pause)
    assert pauses == sorted(pauses)
    assert pauses[-1] > pauses[0]


def test_a_device_that_goes_away_at_the_last_moment_is_not_attached(world: Callable[..., World]) -> None:
    it = world([claim(1, SERVER)], [device(1)], [running()])
    it.discovery.refresh = lambda plugged: None  # type: ignore[method-assign]
    it.start()
    until(lambda: it.conductor.states() == {"device-1": "failed"})
    assert it.driver.calls == []


def test_a_device_that_the_host_began_to_use_is_not_attached(world: Callable[..., World]) -> None:
    it = world([claim(1, SERVER)], [device(1)], [running()])
    mounted = device(1, blocked_code=ReasonCode.HOST_MOUNT, blocked_reason="mounted at /srv")
    it.discovery.refresh = lambda plugged: mounted  # type: ignore[method-assign]
    it.start()
    until(lambda: it.conductor.states() == {"device-1": "failed"})
    assert it.conductor.outcomes["device-1"] == outcome(
        1, State.FAILED, ReasonCode.HOST_MOUNT, "mounted at /srv"
    )
    assert it.driver.calls == []


def test_a_hypervisor_that_goes_away_and_comes_back(world: Callable[..., World]) -> None:
    it = world([claim(1, None)], [device(1)], [running()])
    it.driver.away = True
    it.start()
    time.sleep(0.2)
    it.driver.away = False
    until(lambda: it.conductor.states() == {"device-1": "available"})
    it.driver.away = True
    it.driver.on_change(None)
    it.endpoint.claim_changed({}, vars(claim(1, SERVER, generation=2)))
    time.sleep(0.2)
    assert it.held() == ()
    it.driver.away = False
    until(lambda: it.conductor.outcomes["device-1"] == ClaimStatus("device-1", 2, "attached"))


def test_a_conductor_that_goes_away_and_comes_back(world: Callable[..., World]) -> None:
    """What happened meanwhile is done at once and told afterwards."""
    it = world([claim(1, SERVER)], [device(1)], [running()]).start()
    until(lambda: it.conductor.states() == {"device-1": "attached"})
    it.conductor.away = True
    it.discovery.devices = []
    it.agent.devices_changed()
    until(lambda: it.held() == ())
    assert it.conductor.states() == {"device-1": "attached"}
    it.conductor.away = False
    until(lambda: it.conductor.states() == {"device-1": "waiting"})
    assert it.conductor.seen[-1] == []


def test_what_was_told_is_not_told_again(world: Callable[..., World]) -> None:
    it = world([claim(1, SERVER)], [device(1)], [running()]).start()
    until(lambda: it.conductor.states() == {"device-1": "attached"})
    for number in range(2, 5):
        it.driver.on_change(SERVER)
        it.endpoint.claim_changed({}, vars(claim(number, None)))
        until(lambda number=number: f"device-{number}" in it.conductor.outcomes)
    assert it.conductor.reports <= 4


def test_a_row_that_was_forgotten_is_forgotten_here(world: Callable[..., World]) -> None:
    it = world([claim(1, None), claim(2, None)], [device(1)], [running()]).start()
    until(lambda: set(it.conductor.outcomes) == {"device-1", "device-2"})
    it.conductor.claims = [claim(1, SERVER, generation=2)]
    it.discovery.devices = [device(1), device(3)]
    it.agent.devices_changed()
    until(lambda: it.conductor.outcomes["device-1"] == ClaimStatus("device-1", 2, "attached"))
    it.driver.state[SERVER] = running(ours(1), ours(2))
    it.driver.on_change(SERVER)
    until(lambda: it.held() == (ours(1),))


def test_a_host_without_an_emulator_is_said_in_one_line(
    world: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    """libvirt's qemu driver runs there, and does not tell its version."""
    it = world([], [], [])

    def name() -> str:
        raise HypervisorError(REFUSED, "internal error: Cannot find suitable emulator for x86_64")

    it.driver.name = name  # type: ignore[method-assign]
    it.start()
    until(lambda: any(record.levelname == "ERROR" for record in list(caplog.records)))
    line = next(record for record in list(caplog.records) if record.levelname == "ERROR")
    assert line.getMessage() == (
        "The hypervisor refuses to be read: internal error: Cannot find suitable emulator for x86_64;"
        f" next try in {agent_module._RETRY_SECONDS} s"
    )
    assert line.exc_info is None


def test_one_surprise_does_not_end_the_agent(world: Callable[..., World]) -> None:
    it = world([claim(1, SERVER)], [device(1)], [running()])
    healthy = it.discovery.scan

    def surprise(claims: Collection[Claim]) -> list[Device]:
        it.discovery.scan = healthy  # type: ignore[method-assign]
        raise RuntimeError("boo")

    it.discovery.scan = surprise  # type: ignore[method-assign]
    it.start()
    until(lambda: it.conductor.states() == {"device-1": "attached"})


def test_a_server_that_is_being_moved_gets_its_device_afterwards(world: Callable[..., World]) -> None:
    """No event need tell of the end."""
    it = world([claim(1, SERVER)], [device(1)], [running()])
    it.driver.busy = True
    it.start()
    until(lambda: it.conductor.states() == {"device-1": "waiting"})
    assert it.conductor.outcomes["device-1"] == outcome(1, State.WAITING, ReasonCode.SERVER_BUSY)
    it.driver.busy = False
    until(lambda: it.conductor.states() == {"device-1": "attached"})


def test_what_the_operator_has_to_mend_is_told(world: Callable[..., World]) -> None:
    it = world([], [device(1)], [])
    it.driver.complaints = ["The hook is missing."]
    it.start()
    until(lambda: it.conductor.seen != [] and it.conductor.problems == ["The hook is missing."])
    it.driver.complaints = []
    it.agent.devices_changed()
    until(lambda: it.conductor.problems == [])


def test_a_device_is_reset_once_between_two_servers(world: Callable[..., World]) -> None:
    it = world([claim(1, SERVER)], [device(1)], [running(), running(uuid=OTHER)]).start()
    until(lambda: it.conductor.states() == {"device-1": "attached"})
    it.endpoint.claim_changed({}, vars(claim(1, None, generation=2, state=State.DETACHING)))
    until(lambda: it.conductor.outcomes["device-1"] == outcome(2, State.AVAILABLE, ReasonCode.RESET))
    # The database knows it by now, and says so; or an answer that was on its way says that it does not.
    for state in (State.AVAILABLE, State.DETACHING):
        it.endpoint.claim_changed({}, vars(claim(1, None, generation=2, state=state)))
    it.endpoint.claim_changed({}, vars(claim(1, OTHER, generation=3)))
    until(lambda: it.conductor.outcomes["device-1"] == ClaimStatus("device-1", 3, "attached"))
    it.endpoint.claim_changed({}, vars(claim(1, None, generation=4, state=State.DETACHING)))
    until(lambda: it.conductor.outcomes["device-1"] == outcome(4, State.AVAILABLE, ReasonCode.RESET))
    assert it.resets == [(device(1), False), (device(1), False)]


def test_an_agent_killed_between_detach_and_reset_leaves_the_reset_to_the_next(
    world: Callable[..., World],
) -> None:
    it = world([claim(1, None, generation=2, state=State.DETACHING)], [device(1)], [running()]).start()
    until(lambda: it.conductor.outcomes == {"device-1": outcome(2, State.AVAILABLE, ReasonCode.RESET)})
    assert it.resets == [(device(1), False)]


def test_a_device_that_only_lost_its_server_for_a_while_is_not_reset(world: Callable[..., World]) -> None:
    it = world([claim(1, SERVER)], [device(1)], [Domain(SERVER, "instance-1", False)]).start()
    until(lambda: it.conductor.states() == {"device-1": "waiting"})
    it.driver.state[SERVER] = running()
    it.driver.on_change(SERVER)
    until(lambda: it.conductor.states() == {"device-1": "attached"})
    assert it.resets == []


def test_a_device_that_cannot_be_taken_out_is_not_reset(world: Callable[..., World]) -> None:
    it = world([claim(1, SERVER)], [device(1)], [running()]).start()
    until(lambda: it.conductor.states() == {"device-1": "attached"})
    it.driver.refuse_detach = "not removed"
    it.endpoint.claim_changed({}, vars(claim(1, None, generation=2, state=State.DETACHING)))
    until(lambda: it.conductor.outcomes["device-1"] == outcome(2, State.DETACHING, REFUSED, "not removed"))
    assert it.resets == []
    it.driver.refuse_detach = None
    it.driver.on_change(SERVER)
    time.sleep(0.1)
    it.driver.on_change(SERVER)
    until(lambda: it.conductor.outcomes["device-1"] == outcome(2, State.AVAILABLE, ReasonCode.RESET))


@pytest.mark.parametrize(
    ("now", "error", "code", "note"),
    [
        (
            device(1),
            OSError(5, "Input/output error"),
            ReasonCode.RESET_FAILED,
            "not reset: Input/output error",
        ),
        (None, None, ReasonCode.RESET_SKIPPED, "not reset: the device was unplugged"),
        (
            device(1, blocked_code=ReasonCode.HOST_SWAP, blocked_reason="used by the host: swap space"),
            None,
            ReasonCode.RESET_SKIPPED,
            "not reset: used by the host: swap space",
        ),
    ],
)
def test_a_reset_that_fails_does_not_keep_the_device(
    world: Callable[..., World], now: Device | None, error: OSError | None, code: ReasonCode, note: str
) -> None:
    it = world([claim(1, None, state=State.DETACHING)], [device(1)], [running()])
    it.discovery.refresh = lambda plugged: now  # type: ignore[method-assign]
    it.reset_error = error
    it.start()
    until(lambda: it.conductor.outcomes == {"device-1": outcome(1, State.AVAILABLE, code, note)})
    assert len(it.resets) == (error is not None)


def test_every_sync_tells_the_servers_of_the_host_as_they_are_then(world: Callable[..., World]) -> None:
    it = world([], [device(1)], [running(), Domain(OTHER, "instance-2", False)]).start()
    until(lambda: it.conductor.servers == [{SERVER: Server(True), OTHER: Server(False)}])
    del it.driver.state[SERVER]
    it.driver.state[OTHER] = running(uuid=OTHER)
    it.driver.on_change(SERVER)
    it.driver.on_change(OTHER)
    it.discovery.devices = []
    it.agent.devices_changed()
    until(lambda: it.conductor.seen[-1] == [])
    assert it.conductor.servers == [
        {SERVER: Server(True), OTHER: Server(False)},
        {OTHER: Server(True)},
    ]


def test_while_the_hypervisor_is_away_nobody_is_told_which_servers_there_are(
    world: Callable[..., World],
) -> None:
    """What was seen last may be wrong by now, and who asks decides by it what becomes of devices."""
    it = world([], [device(1)], [running()])
    it.reporter._interval = 0.01
    it.start()
    until(lambda: it.conductor.servers[-1:] == [{SERVER: Server(True)}])
    it.driver.away = True
    it.driver.on_change(None)
    until(lambda: it.conductor.servers[-1] is None)
    it.driver.state[SERVER] = Domain(SERVER, "instance-1", False)
    it.driver.away = False
    until(lambda: it.conductor.servers[-1] is not None)
    assert it.conductor.servers[-1] == {SERVER: Server(False)}


def test_the_first_look_after_the_hypervisor_was_away_is_at_everything(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event of one domain may come before the time of the next try."""
    monkeypatch.setattr(agent_module, "_RETRY_SECONDS", NEVER)
    it = world([claim(1, SERVER)], [device(1)], [running()]).start()
    until(lambda: it.conductor.states() == {"device-1": "attached"})
    it.driver.away = True
    it.driver.on_change(OTHER)
    until(lambda: it.agent._reconciler._domains is None)
    it.driver.state[SERVER] = Domain(SERVER, "instance-1", False)
    it.driver.away = False
    it.driver.on_change(OTHER)
    until(lambda: it.conductor.outcomes["device-1"].reason_code == ReasonCode.SERVER_OFF)


def test_a_claim_of_another_version_is_taken(world: Callable[..., World]) -> None:
    """A newer one has fields that this agent does not know, one of RPC 1.0 lacks some that it does."""
    it = world([claim(1, None)], [device(1)], [running()]).start()
    until(lambda: it.conductor.states() == {"device-1": "available"})
    newer = {**vars(claim(1, SERVER, generation=2)), "transport": {"kind": "network"}}
    it.endpoint.claim_changed({"is_admin": True}, newer)
    until(lambda: it.conductor.outcomes["device-1"] == ClaimStatus("device-1", 2, "attached"))
    older = {**vars(claim(1, None, generation=3)), "state": "detaching"}
    del older["reason_code"], older["reason"]
    it.endpoint.claim_changed({}, older)
    until(lambda: it.conductor.outcomes["device-1"] == outcome(3, State.AVAILABLE, ReasonCode.RESET))


@pytest.mark.parametrize("nudge", recorded.nudges(), ids=lambda nudge: nudge.what)
def test_a_claim_of_rpc_1_0_is_taken(world: Callable[..., World], nudge: recorded.Message) -> None:
    it = world([], [], []).start()
    until(lambda: it.conductor.seen != [])
    it.endpoint.claim_changed({}, nudge.arguments["claim"])
    told = nudge.arguments["claim"]
    until(lambda: set(it.conductor.outcomes) == {told["device_id"]})
    assert it.conductor.outcomes[told["device_id"]].generation == told["generation"]


REQUESTS = [f"req-00000000-0000-0000-0000-00000000000{number}" for number in range(4)]


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str | None]]:
    """First word of each line about an action, and the request that it is logged with."""
    records = [record for record in caplog.records if record.name == "compute_shim.agent.executor"]
    contexts = [vars(record).get("context") for record in records]
    return [
        (record.getMessage().split()[0], context and context.request_id)
        for record, context in zip(records, contexts, strict=True)
    ]


def test_what_is_done_is_logged_and_told_with_the_request_that_asked_for_it(
    world: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "compute_shim.agent.executor")
    it = world([claim(1, None)], [device(1)], [running()]).start()
    until(lambda: it.conductor.states() == {"device-1": "available"})
    it.driver.refuse = "No free USB ports"
    it.endpoint.claim_changed({"request_id": REQUESTS[0]}, vars(claim(1, SERVER, generation=2)))
    until(lambda: it.conductor.states() == {"device-1": "failed"})
    assert it.conductor.request_ids["device-1"] == REQUESTS[0]
    it.driver.refuse = None

    def attached() -> bool:
        it.driver.on_change(SERVER)
        return it.conductor.states() == {"device-1": "attached"}

    # Later tries of the same claim are on behalf of the same request.
    until(attached)
    it.endpoint.claim_changed(
        {"request_id": REQUESTS[1]}, vars(claim(1, None, generation=3, state=State.DETACHING))
    )
    until(lambda: it.conductor.outcomes["device-1"] == outcome(3, State.AVAILABLE, ReasonCode.RESET))
    assert it.conductor.request_ids["device-1"] == REQUESTS[1]
    it.endpoint.claim_changed({}, vars(claim(1, SERVER, generation=4)))
    until(lambda: it.conductor.states() == {"device-1": "attached"})
    assert it.conductor.request_ids["device-1"] is None
    lines = logged(caplog)
    assert ("Cannot", REQUESTS[0]) in lines
    assert [line for line in lines if line[0] != "Cannot"] == [
        ("Done:", REQUESTS[0]),
        ("Done:", REQUESTS[1]),
        ("Reset", REQUESTS[1]),
        ("Done:", None),
    ]


def test_the_outcomes_of_several_requests_are_told_as_of_none(world: Callable[..., World]) -> None:
    it = world([claim(1, None), claim(2, None)], [device(1), device(2)], [running()]).start()
    until(lambda: set(it.conductor.outcomes) == {"device-1", "device-2"})
    it.conductor.away = True
    for number in (1, 2):
        context = {"request_id": REQUESTS[number]}
        it.endpoint.claim_changed(context, vars(claim(number, SERVER, generation=2)))
    until(lambda: len(it.held()) == 2)
    until(lambda: len(it.reporter._untold()) == 2)
    it.conductor.away = False
    until(lambda: set(it.conductor.states().values()) == {"attached"})
    assert set(it.conductor.request_ids.values()) <= {None, *REQUESTS}
    assert it.conductor.request_ids["device-1"] == it.conductor.request_ids["device-2"] is None


@pytest.mark.parametrize("forged", ["req-1\nERROR", 7, None, ["req"], f"{REQUESTS[0]}\n"])
def test_what_is_no_request_id_is_not_logged(world: Callable[..., World], forged: object) -> None:
    it = world([claim(1, None)], [device(1)], [running()]).start()
    until(lambda: it.conductor.states() == {"device-1": "available"})
    it.endpoint.claim_changed({"request_id": forged}, vars(claim(1, SERVER, generation=2)))
    until(lambda: it.conductor.states() == {"device-1": "attached"})
    assert it.conductor.request_ids["device-1"] is None
