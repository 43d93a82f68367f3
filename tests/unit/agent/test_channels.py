# SPDX-License-Identifier: Apache-2.0
"""What the planner wants of claims that are fulfilled over the network, at both ends."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from compute_shim.agent.planner import AttachChannel, Detach, plan, relays, resets, statuses, wipes
from compute_shim.agent.relays import Running, Wanted
from compute_shim.agent.snapshot import Snapshot
from compute_shim.hypervisor.base import Domain
from compute_shim.objects import ClaimStatus, Device, Reason, ReasonCode, State
from tests.unit.agent import model
from tests.unit.agent.model import claim, ours

HERE = "00000000-0000-0000-0000-000000000001"
ELSEWHERE = "00000000-0000-0000-0000-000000000002"
ADDRESS = "host1:49300"
# Of the device's host, and of the server's host.
SERVED = claim(1, ELSEWHERE, peer="host2")
CARRIED = claim(1, HERE, peer="host1", address=ADDRESS)
DOMAIN = Domain(HERE, "instance-1", True)
CONNECTED = Domain(HERE, "instance-1", True, channels=("device-1",))


def device(number: int, **changes: Any) -> Device:
    """A device that its rule allows over the network."""
    return model.device(number, **{"over_network": True} | changes)


def served(state: str = "", **changes: Any) -> dict[str, Running]:
    """The relay of the device's host."""
    return {"device-1": Running(Wanted("device-1", 1, "host2"), 7, state, port=49300, **changes)}


def carried(state: str = "", **changes: Any) -> dict[str, Running]:
    """The relay of the server's host."""
    return {"device-1": Running(Wanted("device-1", 1, "host1", ADDRESS), 7, state, **changes)}


def status(host: Snapshot, refusals: dict[str, Reason] | None = None) -> tuple[Any, ...]:
    """State, code and port of the only status."""
    [found] = statuses(host, refusals or {}, {})
    return found.state, found.reason_code, found.port


# The device's host


def test_the_device_of_a_server_elsewhere_is_served_and_not_attached() -> None:
    host = Snapshot([SERVED], [device(1)], [Domain(ELSEWHERE, "the same here", True)])
    assert relays(host) == [Wanted("device-1", 1, "host2")]
    assert relays(host)[0].device == device(1)
    assert plan(host) == []
    assert status(host) == (State.WAITING, ReasonCode.CHANNEL_CONNECTING, None)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("", (State.WAITING, ReasonCode.CHANNEL_CONNECTING, 49300)),
        ("listening", (State.WAITING, ReasonCode.CHANNEL_CONNECTING, 49300)),
        ("connected", (State.ATTACHED, None, 49300)),
    ],
)
def test_what_is_told_of_a_device_that_is_served(state: str, told: tuple[Any, ...]) -> None:
    host = Snapshot([SERVED], [device(1)], [], served(state))
    assert status(host) == told
    assert relays(host) == [Wanted("device-1", 1, "host2")]


@pytest.mark.parametrize(
    "relay", [served("connected", ending=True), {"device-1": Running(Wanted("device-1", 0, "host2"), 7)}]
)
def test_a_relay_of_the_past_says_nothing(relay: dict[str, Running]) -> None:
    host = Snapshot([SERVED], [device(1)], [], relay)
    assert status(host) == (State.WAITING, ReasonCode.CHANNEL_CONNECTING, None)


def test_a_device_that_cannot_be_given_away_is_not_served() -> None:
    for devices, code in (
        ([], ReasonCode.UNPLUGGED),
        ([device(1, blocked_code=ReasonCode.HOST_MOUNT)], ReasonCode.HOST_MOUNT),
    ):
        host = Snapshot([SERVED], devices, [])
        assert relays(host) == []
        assert status(host)[1] == code


@pytest.mark.parametrize("relay", [{}, served("connected")])
@pytest.mark.parametrize("allowed", [False, None])
def test_the_rule_of_its_host_decides(allowed: bool | None, relay: dict[str, Running]) -> None:
    """Whatever the conductor was told of it, and also of what is served already."""
    host = Snapshot([SERVED], [device(1, over_network=allowed)], [], relay)
    assert relays(host) == []
    assert status(host) == (State.FAILED, ReasonCode.NETWORK_NOT_ALLOWED, None)


def test_it_is_served_when_the_server_on_this_host_has_let_it_go() -> None:
    here = Domain(HERE, "instance-1", True, (ours(1),))
    host = Snapshot([SERVED], [device(1)], [here])
    assert relays(host) == []
    assert plan(host) == [Detach(HERE, "device-1", live=True, config=False)]


def test_a_server_on_this_host_gets_it_when_the_relay_has_let_it_go() -> None:
    local = claim(1, HERE, generation=2)
    host = Snapshot([local], [device(1)], [DOMAIN], served("connected"))
    assert relays(host) == []
    assert plan(host) == []
    assert statuses(host, {}, {}) == []
    [action] = plan(host.with_relays({}))
    assert (action.server_id, action.device_id) == (HERE, "device-1")


def test_a_host_of_the_server_that_takes_no_part() -> None:
    host = Snapshot([dataclasses.replace(SERVED, peer="")], [device(1)], [])
    assert relays(host) == []
    assert status(host) == (State.WAITING, ReasonCode.NO_NETWORK_TRANSPORT, None)


def test_why_no_relay_runs() -> None:
    host = Snapshot([SERVED], [device(1)], [])
    for code, state in (
        (ReasonCode.CHANNEL_FAILED, State.FAILED),
        (ReasonCode.NO_NETWORK_TRANSPORT, State.WAITING),
    ):
        assert status(host, {"device-1": Reason(code)}) == (state, code, None)


def test_it_is_free_when_its_relay_has_ended_and_it_was_reset() -> None:
    ending = claim(1, None, generation=2, state=State.DETACHING, wiped=0)
    host = Snapshot([ending], [device(1)], [], served("connected"))
    assert relays(host) == []
    assert resets(host, ()) == []
    assert wipes(host) == []
    assert status(host)[0] == State.DETACHING
    [reset] = resets(host.with_relays({}), ())
    assert reset.device_id == "device-1"
    free = dataclasses.replace(ending, state=State.AVAILABLE)
    assert wipes(Snapshot([free], [device(1)], [], served())) == []
    assert len(wipes(Snapshot([free], [device(1)], []))) == 1


# The server's host


def test_a_server_is_connected_to_a_relay_that_listens() -> None:
    host = Snapshot([CARRIED], [], [DOMAIN])
    assert relays(host) == [Wanted("device-1", 1, "host1", ADDRESS)]
    assert plan(host) == []
    assert plan(host.with_relays(carried())) == []
    host = host.with_relays(carried("listening", idle=True))
    assert plan(host) == [AttachChannel(HERE, "device-1")]
    assert status(host) == (State.WAITING, ReasonCode.CHANNEL_CONNECTING, None)


def test_a_device_of_another_host_is_none_of_this_one() -> None:
    """Not even of the same serial number in the same socket."""
    host = Snapshot([CARRIED], [device(1)], [DOMAIN], carried("listening"))
    assert host.claims == {}
    assert plan(host) == [AttachChannel(HERE, "device-1")]
    assert resets(host, ()) == []
    assert wipes(host) == []


@pytest.mark.parametrize(
    ("relay", "told"),
    [
        (carried("listening"), (State.WAITING, ReasonCode.CHANNEL_CONNECTING)),
        (carried("connecting"), (State.WAITING, ReasonCode.CHANNEL_CONNECTING)),
        (carried("connecting", reason="No route to host"), (State.WAITING, ReasonCode.CHANNEL_UNREACHABLE)),
        (carried("connecting", reason="expired", refused=True), (State.WAITING, ReasonCode.CHANNEL_REFUSED)),
        (carried("connected"), (State.ATTACHED, None)),
    ],
)
def test_what_is_told_of_a_server_that_is_connected(
    relay: dict[str, Running], told: tuple[State, str | None]
) -> None:
    host = Snapshot([CARRIED], [], [CONNECTED], relay)
    assert plan(host) == []
    assert status(host)[:2] == told


def test_attached_is_what_the_domain_has_as_well() -> None:
    host = Snapshot([CARRIED], [], [DOMAIN], carried("connected"))
    assert status(host)[0] == State.WAITING


def test_a_channel_that_has_lost_its_connection_is_replaced() -> None:
    host = Snapshot([CARRIED], [], [CONNECTED], carried("listening", idle=True))
    assert plan(host) == [
        Detach(HERE, "device-1", live=True, config=False),
        AttachChannel(HERE, "device-1"),
    ]


@pytest.mark.parametrize(
    "claims",
    [
        [],
        [claim(1, None, generation=2, address="")],
        [claim(1, ELSEWHERE, peer="host1", address=ADDRESS)],
        [claim(1, HERE, generation=2, peer="host1", address=ADDRESS)],
    ],
    ids=["gone", "ending", "another server's", "another generation"],
)
def test_a_channel_without_its_claim_is_taken_out(claims: list[Any]) -> None:
    host = Snapshot(claims, [], [CONNECTED], carried("connected"))
    assert plan(host) == [Detach(HERE, "device-1", live=True, config=False)]


@pytest.mark.parametrize(
    ("changes", "domains", "code"),
    [
        ({}, [], ReasonCode.DOMAIN_ABSENT),
        ({}, [dataclasses.replace(DOMAIN, running=False)], ReasonCode.SERVER_OFF),
        ({"peer": ""}, [DOMAIN], ReasonCode.NO_NETWORK_TRANSPORT),
        ({"address": ""}, [DOMAIN], ReasonCode.CHANNEL_CONNECTING),
    ],
)
def test_what_cannot_be_connected_waits(changes: dict[str, Any], domains: list[Domain], code: str) -> None:
    host = Snapshot([dataclasses.replace(CARRIED, **changes)], [], domains)
    assert relays(host) == []
    assert plan(host) == []
    assert status(host) == (State.WAITING, code, None)


def test_what_the_hypervisor_refused() -> None:
    host = Snapshot([CARRIED], [], [DOMAIN], carried("listening"))
    assert status(host, {"device-1": Reason(ReasonCode.NO_FREE_USB_PORT)})[0] == State.FAILED
    assert status(host, {"device-1": Reason(ReasonCode.SERVER_BUSY)})[0] == State.WAITING


def test_nothing_is_told_of_a_claim_that_ends_elsewhere() -> None:
    ending = claim(1, None, generation=2, state=State.DETACHING, address="")
    found: list[ClaimStatus] = statuses(Snapshot([ending], [], [CONNECTED]), {}, {})
    assert found == []
