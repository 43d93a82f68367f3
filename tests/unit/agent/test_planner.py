# SPDX-License-Identifier: Apache-2.0
"""The planner, by what must hold on any host, and by the few cases that people think of."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given

from compute_shim.agent import executor
from compute_shim.agent.planner import Attach, Detach, Reset, plan, resets, statuses
from compute_shim.agent.relays import Relays
from compute_shim.agent.snapshot import Snapshot
from compute_shim.hypervisor.base import Domain, Hostdev
from compute_shim.objects import Claim, ClaimStatus, Device, Reason, ReasonCode, State
from tests.unit.agent.model import FakeDriver, claim, device, hosts, ours

SERVER = "00000000-0000-0000-0000-000000000001"
OTHER = "00000000-0000-0000-0000-000000000002"
RELAYS = Relays(None)

Host = tuple[list[Claim], list[Device], list[Domain]]


def carry_out(claims: list[Claim], devices: list[Device], domains: list[Domain]) -> list[Domain]:
    """The domains after the plan."""
    driver = FakeDriver(domains, devices)
    actions = plan(Snapshot(claims, devices, domains))
    done = executor.execute(actions, driver.state, driver, lambda found: found, {}, RELAYS)
    assert done.refusals == {}
    assert all(driver.state[uuid] == domain for uuid, domain in done.domains.items())
    return driver.domains()


def foreign(domains: list[Domain]) -> dict[str, tuple[list[Hostdev], list[Hostdev]]]:
    return {
        domain.uuid: (
            [hostdev for hostdev in domain.live if hostdev.device_id is None],
            [hostdev for hostdev in domain.config if hostdev.device_id is None],
        )
        for domain in domains
    }


@given(hosts())
def test_it_reaches_the_goal(host: Host) -> None:
    """Every claim that can be fulfilled is; nothing else of ours is anywhere."""
    claims, devices, domains = host
    after = carry_out(claims, devices, domains)
    states = {outcome.device_id: outcome for outcome in statuses(Snapshot(claims, devices, after), {}, {})}
    in_guest = {hostdev.device_id: domain.uuid for domain in after for hostdev in domain.live}
    in_guest.pop(None, None)
    assert in_guest == {
        item.device_id: item.server_id for item in claims if states[item.device_id].state == State.ATTACHED
    }
    assert all(hostdev.device_id is None for domain in after for hostdev in domain.config)
    assert {outcome.reason_code for outcome in states.values()} <= {
        None,
        ReasonCode.PORT_OCCUPIED,
        ReasonCode.DOMAIN_ABSENT,
        ReasonCode.SERVER_OFF,
        ReasonCode.UNPLUGGED,
        ReasonCode.HOST_MOUNT,
        ReasonCode.ATTACHED_MANUALLY,
    }


@given(hosts())
def test_an_obstacle_is_told_only_where_there_is_one(host: Host) -> None:
    """What is free, plugged, allowed and wanted by a running server is attached, and nothing else is."""
    claims, devices, domains = host
    after = carry_out(claims, devices, domains)
    running = {domain.uuid for domain in domains if domain.running}
    by_id = {item.device_id: item for item in devices}
    strangers = {
        hostdev.device
        for domain in domains
        for hostdev in domain.live
        if hostdev.device_id is None and not hostdev.missing
    }
    for outcome, item in zip(statuses(Snapshot(claims, devices, after), {}, {}), claims, strict=True):
        if item.server_id is None:
            assert outcome.state == State.AVAILABLE or item.ending
            continue
        found = by_id.get(item.device_id)
        can_be = (
            item.server_id in running
            and found is not None
            and found.blocked is None
            and found.device not in strangers
        )
        assert (outcome.state == State.ATTACHED) == can_be


@given(hosts())
def test_a_second_plan_is_empty(host: Host) -> None:
    claims, devices, domains = host
    assert plan(Snapshot(claims, devices, carry_out(claims, devices, domains))) == []


@given(hosts())
def test_no_device_is_ever_in_two_domains(host: Host) -> None:
    """Not at the end, and not between two steps either: the fake refuses that as libvirt does."""
    claims, devices, domains = host
    held = [
        (hostdev.bus, hostdev.device)
        for domain in carry_out(claims, devices, domains)
        for hostdev in domain.live
        if not hostdev.missing
    ]
    assert len(held) == len(set(held))


@given(hosts())
def test_what_is_not_ours_is_never_touched(host: Host) -> None:
    claims, devices, domains = host
    assert foreign(carry_out(claims, devices, domains)) == foreign(domains)


@given(hosts())
def test_what_is_right_already_is_left_alone(host: Host) -> None:
    """A device that a guest has and may keep is not taken out for a moment."""
    claims, devices, domains = host
    attached = {
        outcome.device_id
        for outcome in statuses(Snapshot(claims, devices, domains), {}, {})
        if outcome.state == State.ATTACHED
    }
    touched = {
        action.device_id
        for action in plan(Snapshot(claims, devices, domains))
        if isinstance(action, Attach) or action.live
    }
    servers = {item.device_id: item.server_id for item in claims}
    stray = {
        hostdev.device_id
        for domain in domains
        for hostdev in domain.live
        if hostdev.device_id in attached and servers[hostdev.device_id] != domain.uuid
    }
    assert not (attached - stray) & touched


@given(hosts())
def test_only_what_was_given_back_and_no_domain_has_is_reset(host: Host) -> None:
    """At any moment, and once."""
    claims, devices, domains = host
    for moment in (domains, carry_out(claims, devices, domains)):
        actions = resets(Snapshot(claims, devices, moment), ())
        assert {action.device_id for action in actions} <= {item.device_id for item in claims if item.ending}
        hostdevs = [hostdev for domain in moment for hostdev in domain.live]
        held = {hostdev.address for hostdev in hostdevs if not hostdev.missing}
        assert not held & {(action.device.bus, action.device.device) for action in actions}
        assert not {hostdev.device_id for hostdev in hostdevs} & {action.device_id for action in actions}
        assert resets(Snapshot(claims, devices, moment), {action.device_id for action in actions}) == []


@given(hosts())
def test_a_snapshot_with_other_domains_is_the_one_of_that_host(host: Host) -> None:
    claims, devices, domains = host
    before, after = Snapshot(claims, devices, domains), carry_out(claims, devices, domains)
    for now in (after, domains, []):
        there, fresh = before.with_domains(now), Snapshot(claims, devices, now)
        assert plan(there) == plan(fresh)
        assert resets(there, ()) == resets(fresh, ())
        assert statuses(there, {}, {}) == statuses(fresh, {}, {})
    assert before.with_domains(domains) is before


@given(hosts())
def test_what_was_given_back_is_free_after_its_reset_and_not_before(host: Host) -> None:
    claims, devices, domains = host
    after = carry_out(claims, devices, domains)
    host_after = Snapshot(claims, devices, after)
    due = {action.device_id: Reason(ReasonCode.RESET) for action in resets(host_after, ())}
    for done in ({}, due):
        for outcome, item in zip(statuses(host_after, {}, done), claims, strict=True):
            if item.server_id is None:
                waits = item.device_id in due and not done
                assert outcome.state == (State.DETACHING if waits else State.AVAILABLE)
                reset = done.get(item.device_id)
                assert outcome.reason_code == (reset and reset.code)


def running(*live: Hostdev, uuid: str = SERVER, config: tuple[Hostdev, ...] = ()) -> Domain:
    return Domain(uuid, "instance-1", True, live, config)


def test_attach() -> None:
    assert plan(Snapshot([claim(1, SERVER)], [device(1)], [running()])) == [
        Attach(SERVER, "device-1", device(1))
    ]


def test_a_replugged_device_is_taken_out_at_its_old_address_and_put_in_at_the_new() -> None:
    replugged = device(1, device=77)
    assert plan(Snapshot([claim(1, SERVER)], [replugged], [running(ours(1))])) == [
        Detach(SERVER, "device-1", live=True, config=False),
        Attach(SERVER, "device-1", replugged),
    ]


def test_a_ghost_is_taken_out() -> None:
    ghost = dataclasses.replace(ours(1), missing=True)
    assert plan(Snapshot([claim(1, SERVER)], [], [running(ghost)])) == [
        Detach(SERVER, "device-1", live=True, config=False)
    ]


_OTHER_SERIAL = "expected 46f4:0001 SERIAL1, found 0781:5567 with another serial number"
_OF_RPC_1_1 = {"vendor_id": None, "product_id": None, "serial": None, "socket": None}


@pytest.mark.parametrize(
    ("known", "serial", "text"),
    [
        ({}, "SERIAL2", _OTHER_SERIAL),
        ({}, "SERIAL1 ", "expected 46f4:0001 SERIAL1, found 0781:5567 with the same serial number"),
        ({"serial": ""}, "SERIAL2", "expected 46f4:0001, found 0781:5567"),
        (_OF_RPC_1_1 | {"identity": "46f4:0001:SERIAL1"}, "SERIAL2", _OTHER_SERIAL),
        (_OF_RPC_1_1 | {"identity": "46f4:0001@2-1"}, "SERIAL2", "expected 46f4:0001, found 0781:5567"),
    ],
)
def test_another_device_in_the_port_is_not_taken_for_it(
    known: dict[str, Any], serial: str, text: str
) -> None:
    wanted = claim(1, SERVER, **known)
    intruder = device(
        2, vendor_id="0781", product_id="5567", serial=serial, port="2-1", socket=claim(1, None).socket
    )
    assert plan(Snapshot([wanted], [intruder], [running()])) == []
    [outcome] = statuses(Snapshot([wanted], [intruder], [running()]), {}, {})
    assert (outcome.state, outcome.reason) == (State.FAILED, f"another device is in port 2-1 ({text})")
    assert outcome.reason_code == ReasonCode.PORT_OCCUPIED


def test_a_claim_whose_device_is_in_doubt_waits() -> None:
    doubtful = device(1, blocked_code=ReasonCode.IDENTITY_IN_DOUBT, blocked_reason="this or that")
    held = running(ours(1))
    assert plan(Snapshot([claim(1, SERVER)], [doubtful], [held])) == [
        Detach(SERVER, "device-1", live=True, config=False)
    ]
    [outcome] = statuses(Snapshot([claim(1, SERVER)], [doubtful], [running()]), {}, {})
    assert (outcome.state, outcome.reason) == (State.WAITING, "this or that")
    assert outcome.reason_code == ReasonCode.IDENTITY_IN_DOUBT


def test_a_definition_never_keeps_a_device() -> None:
    off = Domain(SERVER, "instance-1", False, (), (ours(1),))
    assert plan(Snapshot([claim(1, SERVER)], [device(1)], [off])) == [
        Detach(SERVER, "device-1", live=False, config=True)
    ]


def test_a_device_moves_out_before_it_moves_in() -> None:
    assert plan(Snapshot([claim(1, OTHER)], [device(1)], [running(uuid=OTHER), running(ours(1))])) == [
        Detach(SERVER, "device-1", live=True, config=False),
        Attach(OTHER, "device-1", device(1)),
    ]


def test_a_device_is_reset_once_it_is_out_of_the_domain() -> None:
    ending = [claim(1, None, state=State.DETACHING)]
    assert resets(Snapshot(ending, [device(1)], [running(ours(1))]), ()) == []
    assert resets(Snapshot(ending, [device(1)], [running()]), ()) == [Reset("device-1", device(1))]
    assert resets(Snapshot([claim(1, None)], [device(1)], [running()]), ()) == []


def test_a_device_that_was_given_back_and_pulled_out_needs_no_reset() -> None:
    ending = [claim(1, None, state=State.DETACHING)]
    assert resets(Snapshot(ending, [], [running()]), ()) == []
    assert statuses(Snapshot(ending, [], [running()]), {}, {}) == [
        ClaimStatus("device-1", 1, State.AVAILABLE)
    ]


@pytest.mark.parametrize(
    ("claims", "devices", "domains", "state", "code"),
    [
        ([claim(1, SERVER)], [device(1)], [running(ours(1))], State.ATTACHED, None),
        ([claim(1, SERVER)], [], [running()], State.WAITING, "unplugged"),
        ([claim(1, SERVER)], [device(1)], [], State.WAITING, ReasonCode.DOMAIN_ABSENT),
        (
            [claim(1, SERVER)],
            [device(1)],
            [Domain(SERVER, "instance-1", False)],
            State.WAITING,
            ReasonCode.SERVER_OFF,
        ),
        (
            [claim(1, SERVER)],
            [device(1, blocked_code=ReasonCode.HOST_MOUNT)],
            [running()],
            State.FAILED,
            ReasonCode.HOST_MOUNT,
        ),
        ([claim(1, SERVER)], [device(1)], [running()], State.FAILED, ReasonCode.NO_FREE_USB_PORT),
        ([claim(1, SERVER)], [device(1)], [running()], State.WAITING, ReasonCode.SERVER_BUSY),
        ([claim(1, None)], [device(1)], [running()], State.AVAILABLE, None),
        ([claim(1, None)], [device(1)], [running(ours(1))], State.DETACHING, ReasonCode.SERVER_BUSY),
        ([claim(1, None)], [device(1)], [running(ours(1))], State.DETACHING, ReasonCode.NO_FREE_USB_PORT),
    ],
)
def test_what_became_of_a_claim(
    claims: list[Claim], devices: list[Device], domains: list[Domain], state: State, code: ReasonCode | None
) -> None:
    refused = code in (ReasonCode.NO_FREE_USB_PORT, ReasonCode.SERVER_BUSY)
    reason = None if code is None else Reason(code)
    refusals = {"device-1": reason} if refused and reason else {}
    assert statuses(Snapshot(claims, devices, domains), refusals, {}) == [
        ClaimStatus.of(claims[0], state, reason)
    ]


def test_a_device_that_an_operator_gave_away_by_hand_is_left_there() -> None:
    by_hand = Hostdev("hostdev0", device(1).bus, device(1).device)
    domains = [running(), Domain(OTHER, "instance-2", True, (by_hand,))]
    assert plan(Snapshot([claim(1, SERVER)], [device(1)], domains)) == []
    [outcome] = statuses(Snapshot([claim(1, SERVER)], [device(1)], domains), {}, {})
    assert outcome.state == State.FAILED
    assert outcome.reason_code == ReasonCode.ATTACHED_MANUALLY
