# SPDX-License-Identifier: Apache-2.0
"""Claims over the network: what each end is told, what they say together, and who has to be followed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import sqlalchemy as sa

from compute_shim.db import channels, history, intent, models, queries
from compute_shim.objects import ReasonCode, State
from novaclient_usb.reason_codes import describe
from tests.unit.db.hosts import CONNECTING, HERE, OTHER, SERVER, THERE, THIRD, Hosts, moved

# What each end is told.


def test_each_end_is_told_of_the_other() -> None:
    hosts = Hosts()
    hosts.attach()
    hosts.serve(49301)
    here, there = hosts.told(HERE), hosts.told(THERE)
    assert (here.server_id, here.peer, here.address) == (SERVER, THERE, None)
    assert (there.server_id, there.peer, there.address) == (SERVER, HERE, "compute1.example:49301")


def test_an_ipv6_address_is_told_in_brackets() -> None:
    hosts = Hosts()
    hosts.addresses[HERE] = "2001:db8::7"
    hosts.sync(HERE)
    hosts.attach()
    hosts.serve()
    assert hosts.told(THERE).address == "[2001:db8::7]:49300"


def test_there_is_no_address_before_a_relay_has_a_port() -> None:
    hosts = Hosts()
    hosts.attach()
    assert hosts.told(THERE).address == ""
    hosts.tell(HERE, State.WAITING, ReasonCode.CHANNEL_LIMIT)
    assert hosts.told(THERE).address == ""


def test_the_port_of_an_older_claim_is_not_told() -> None:
    hosts = Hosts()
    hosts.attach()
    hosts.tell(HERE, State.FAILED, ReasonCode.CHANNEL_FAILED, port=49300)
    hosts.retry()
    assert hosts.told(THERE).address == ""


@pytest.mark.parametrize("what", ["it takes no part", "it is not known"])
@pytest.mark.parametrize("host", [HERE, THERE])
def test_a_host_without_an_address_is_nobodys_peer(host: str, what: str) -> None:
    """Its name may stand in a certificate: nobody is to be let in with it."""
    hosts = Hosts()
    hosts.attach()
    hosts.serve()
    hosts.addresses[host] = None
    hosts.sync(host, *([SERVER] if host == THERE else []))
    if what == "it is not known":
        with hosts.db.writer() as session:
            session.execute(sa.delete(models.Host).where(models.Host.host == host))
    row, channel = hosts.row(), hosts.channel()
    known = queries.host(hosts.db, host)
    if host == THERE:
        assert channels.device_end(row, channel, known).peer == ""
    else:
        claim = channels.server_end(row, channel, known)
        assert (claim.peer, claim.address) == ("", "")
    with hosts.db.reader() as session:
        other = HERE if host == THERE else THERE
        rows = [row] if other == HERE else []
        [told] = channels.claims(session, other, rows)
    assert told.peer == ""


def test_a_claim_on_the_own_host_has_no_peer() -> None:
    hosts = Hosts("A", "B")
    hosts.attach("B")
    hosts.attach("A", host=None)
    hosts.tell(HERE, State.WAITING, ReasonCode.SERVER_OFF)
    told = hosts.told(HERE)
    assert (told.peer, told.address) == (None, None)
    assert (told.state, told.reason_code) == (State.WAITING, ReasonCode.SERVER_OFF)


def test_each_end_is_told_what_it_has_said_itself() -> None:
    """So that it says what differs: what the other end has said is none of its business."""
    hosts = Hosts()
    hosts.attach()
    for host in (HERE, THERE):
        assert (hosts.told(host).state, hosts.told(host).reason_code) == (State.ATTACHING, None)
    hosts.serve()
    hosts.tell(THERE, State.FAILED, ReasonCode.HYPERVISOR_ERROR, "no such bus")
    here, there = hosts.told(HERE), hosts.told(THERE)
    assert (here.state, here.reason_code, here.reason) == (State.WAITING, CONNECTING, describe(CONNECTING))
    assert (there.state, there.reason_code, there.reason) == (
        State.FAILED,
        ReasonCode.HYPERVISOR_ERROR,
        "no such bus",
    )
    hosts.tell(THERE, State.ATTACHED)
    there = hosts.told(THERE)
    assert (there.state, there.reason_code, there.reason) == (State.ATTACHED, None, None)


def test_of_an_older_claim_nothing_is_told_again() -> None:
    hosts = Hosts()
    hosts.attach()
    hosts.tell(THERE, State.FAILED, ReasonCode.NO_FREE_USB_PORT)
    hosts.retry()
    assert (hosts.told(THERE).state, hosts.told(THERE).reason) == (State.ATTACHING, None)


def test_both_ends_are_told_to_let_go() -> None:
    """No other host is let in any more, and the state is the device's, whatever the ends have said."""
    hosts = Hosts()
    hosts.attach()
    hosts.serve()
    hosts.tell(THERE, State.ATTACHED)
    assert intent.release(hosts.db, hosts.row().id, SERVER)
    for host, address in ((HERE, None), (THERE, "")):
        told = hosts.told(host)
        assert (told.server_id, told.peer, told.address) == (None, None, address)
        assert told.state == State.DETACHING


def test_a_host_is_told_of_what_its_own_servers_have() -> None:
    hosts = Hosts("A", "B", "C")
    hosts.attach("A")
    hosts.attach("B", OTHER, THIRD)
    assert [claim.identity for claim in hosts.sync(THERE, SERVER)] == ["A"]
    assert [claim.identity for claim in hosts.sync(THIRD, OTHER)] == ["B"]
    peers = {claim.identity: claim.peer for claim in hosts.sync(HERE)}
    assert peers == {"A": THERE, "B": THIRD, "C": None}


# What the ends say together.


def test_it_is_attached_when_both_ends_are() -> None:
    hosts = Hosts()
    hosts.attach()
    hosts.tell(THERE, State.ATTACHED)
    assert hosts.state() == (State.ATTACHING, None)
    hosts.tell(HERE, State.ATTACHED, port=49300)
    assert hosts.state() == (State.ATTACHED, None)


@pytest.mark.parametrize("host", [HERE, THERE])
def test_an_end_that_is_connected_no_more_interrupts_it(host: str) -> None:
    hosts = Hosts()
    hosts.attach()
    for end in (HERE, THERE):
        hosts.tell(end, State.ATTACHED, port=49300)
    hosts.tell(host, State.WAITING, CONNECTING, port=49300)
    assert hosts.state() == (State.WAITING, CONNECTING)


@pytest.mark.parametrize("host", [HERE, THERE])
@pytest.mark.parametrize(
    ("state", "code"),
    [(State.WAITING, ReasonCode.CHANNEL_UNREACHABLE), (State.FAILED, ReasonCode.CHANNEL_FAILED)],
)
@pytest.mark.parametrize("other", [None, State.WAITING, State.ATTACHED])
def test_what_an_end_complains_about_is_the_state(
    host: str, state: State, code: ReasonCode, other: State | None
) -> None:
    """Whatever the other one says that is no complaint."""
    hosts = Hosts()
    hosts.attach()
    if other is not None:
        hosts.tell(THERE if host == HERE else HERE, other, None if other == State.ATTACHED else CONNECTING)
    hosts.tell(host, state, code)
    assert hosts.state() == (state, code)


def test_of_two_complaints_the_device_s_comes_first() -> None:
    hosts = Hosts()
    hosts.attach()
    hosts.tell(THERE, State.WAITING, ReasonCode.SERVER_OFF)
    hosts.tell(HERE, State.WAITING, ReasonCode.UNPLUGGED)
    assert hosts.state() == (State.WAITING, ReasonCode.UNPLUGGED)


def test_who_gives_no_reason_does_not_complain() -> None:
    """No agent of ours does so, but a report may have none."""
    hosts = Hosts()
    hosts.attach()
    hosts.tell(THERE, State.FAILED)
    assert hosts.state() == (State.ATTACHING, None)


def test_details_of_a_complaint_are_kept() -> None:
    hosts = Hosts()
    hosts.attach()
    hosts.tell(THERE, State.FAILED, ReasonCode.HYPERVISOR_ERROR, "no such bus")
    assert hosts.row().state_reason == "no such bus"


def test_with_attached_a_reason_means_nothing() -> None:
    hosts = Hosts()
    hosts.attach()
    hosts.tell(THERE, State.ATTACHED, ReasonCode.HYPERVISOR_ERROR, "ignored")
    assert hosts.told(THERE).reason is None


def test_what_was_told_of_an_older_claim_does_not_count() -> None:
    """Neither what the other end said, nor the port."""
    hosts = Hosts()
    hosts.attach()
    hosts.tell(HERE, State.ATTACHED, port=49300)
    hosts.tell(THERE, State.FAILED, ReasonCode.NO_FREE_USB_PORT)
    hosts.retry()
    hosts.tell(THERE, State.ATTACHED)
    assert hosts.state() == (State.ATTACHING, None)
    assert (hosts.told(THERE).state, hosts.told(THERE).address) == (State.ATTACHED, "")
    assert hosts.told(HERE).state == State.ATTACHING


@pytest.mark.parametrize("host", [HERE, THERE])
def test_what_answers_an_older_claim_changes_nothing(host: str) -> None:
    hosts = Hosts()
    hosts.attach()
    hosts.serve()
    before = vars(hosts.channel()).copy()
    assert hosts.tell(host, State.FAILED, ReasonCode.CHANNEL_FAILED, generation=1) == set()
    assert hosts.state() == (State.ATTACHING, None)
    assert {**vars(hosts.channel()), "_sa_instance_state": None} == {**before, "_sa_instance_state": None}


@pytest.mark.parametrize("host", [HERE, THERE])
def test_that_a_claimed_device_is_free_is_no_answer(host: str) -> None:
    hosts = Hosts()
    hosts.attach()
    hosts.serve()
    hosts.tell(host, State.AVAILABLE)
    assert hosts.state() == (State.ATTACHING, None)
    assert hosts.told(THERE).address == "compute1.example:49300"


def test_the_port_is_the_device_s_end_s_alone() -> None:
    hosts = Hosts()
    hosts.attach()
    assert hosts.tell(HERE, State.WAITING, CONNECTING, port=49300) == {hosts.row().id}
    assert hosts.tell(THERE, State.ATTACHED) == set()
    assert hosts.tell(THERE, State.ATTACHED, port=1) == set()
    assert hosts.told(THERE).address == "compute1.example:49300"
    assert hosts.tell(HERE, State.WAITING, ReasonCode.UNPLUGGED) == {hosts.row().id}
    assert hosts.told(THERE).address == ""


# Who can have a device over the network, and where channels begin and end.


def test_one_channel_replaces_another() -> None:
    hosts = Hosts()
    hosts.attach()
    hosts.serve()
    with hosts.db.writer() as session:
        row = session.get_one(models.Device, hosts.row().id)
        channels.open_to(session, row, THIRD)
    assert hosts.where() == THIRD
    assert (hosts.channel().device_host, hosts.channel().told_generation) == (HERE, hosts.row().generation)
    assert hosts.channel().relay_port is None


def test_a_channel_of_one_device_ends_and_no_other() -> None:
    hosts = Hosts("A", "B")
    hosts.attach("A")
    hosts.attach("B", OTHER)
    with hosts.db.writer() as session:
        channels.close(session, [hosts.row("A").id])
    assert (hosts.where("A"), hosts.where("B")) == (None, THERE)


def test_where_a_device_is_used_says_nothing_of_others() -> None:
    hosts = Hosts("A", "B")
    hosts.attach("A")
    hosts.attach("B", OTHER)
    device_id = hosts.row("A").id
    assert channels.server_hosts(hosts.db, [device_id]) == {device_id: THERE}
    with hosts.db.reader() as session:
        assert channels.of(session, [device_id]).keys() == {device_id}


def test_no_devices_are_used_nowhere_which_costs_no_statement() -> None:
    hosts = Hosts()
    hosts.attach()
    statements = hosts.statements()
    assert channels.server_hosts(hosts.db, []) == {}
    assert statements == []


def test_the_hosts_that_take_part() -> None:
    hosts = Hosts()
    hosts.addresses[THIRD] = None
    hosts.sync(THIRD)
    found = channels.relay_hosts(hosts.db, [HERE, THIRD, "compute9"])
    assert {name: host.relay_address for name, host in found.items()} == {HERE: "compute1.example"}


@pytest.mark.parametrize("missing", [None, "rule", HERE, THERE])
@pytest.mark.parametrize(
    ("transport", "host", "possible"),
    [
        (None, HERE, "always"),
        (None, THERE, "never"),
        ("any", HERE, "always"),
        ("any", THERE, "carried"),
        ("network", HERE, "carried"),
        ("network", THERE, "carried"),
    ],
)
def test_where_a_device_can_be_had(
    transport: str | None, host: str, possible: str, missing: str | None
) -> None:
    """Over the network only if its rule allows it, and if both hosts take part."""
    hosts = Hosts()
    hosts.lack(missing)
    hosts.sync(HERE)
    hosts.sync(THERE)
    usable = channels.usable(sa.literal(transport, sa.String), models.Device, host)
    with hosts.db.reader() as session:
        found = session.scalar(sa.select(sa.func.count()).select_from(models.Device).where(usable))
    carried = missing is None or missing not in ("rule", HERE, host)
    assert bool(found) == {"always": True, "never": False, "carried": carried}[possible]


# Servers that are on another host than they were.


def test_a_server_that_moved_is_followed() -> None:
    assert moved().pending() == [("A", THIRD, True)]


def test_one_that_stayed_is_not() -> None:
    hosts = Hosts()
    hosts.attach()
    assert hosts.pending() == []


def test_the_oldest_claim_comes_first() -> None:
    hosts = moved("A", "B", "C")
    hosts.create(B=1, C=2, A=3)
    assert [serial for serial, _, _ in hosts.pending()] == ["B", "C", "A"]


def test_home_or_to_the_network_for_the_first_time() -> None:
    hosts = Hosts("A", "B")
    hosts.attach("A")
    hosts.attach("B", OTHER, host=None)
    hosts.sync(THERE, OTHER)
    hosts.sync(HERE, SERVER)
    assert sorted(hosts.pending()) == [("A", HERE, True), ("B", THERE, True)]


@pytest.mark.parametrize("transport", [None, "any", "network"])
def test_only_who_may_use_the_network_is_followed(transport: str | None) -> None:
    hosts = Hosts()
    hosts.attach(host=None, transport=transport)
    assert hosts.pending() == ([] if transport is None else [("A", THERE, True)])


def test_a_claim_that_ends_follows_nobody() -> None:
    hosts = moved()
    assert intent.release(hosts.db, hosts.row().id, SERVER)
    assert hosts.pending() == []


def test_claims_on_one_of_a_kind_are_told_apart() -> None:
    hosts = moved(kind="dongle")
    assert (hosts.pending(), hosts.pending(of_kinds=True)) == ([], [("A", THIRD, True)])
    hosts = moved()
    assert (hosts.pending(), hosts.pending(of_kinds=True)) == ([("A", THIRD, True)], [])


def test_where_the_device_s_host_is_down_only_one_of_a_kind_may_be_replaced() -> None:
    assert moved().pending(down=[HERE]) == []
    assert moved(kind="dongle").pending(of_kinds=True, down=[HERE]) == [("A", THIRD, False)]


def test_a_server_is_not_where_the_agent_is_down() -> None:
    assert moved().pending(down=[THIRD]) == []


def test_nobody_is_on_the_host_where_it_does_not_run() -> None:
    hosts = Hosts()
    hosts.attach()
    hosts.sync(THERE)
    hosts.sync(THIRD, SERVER, running=False)
    assert hosts.pending() == []


@pytest.mark.parametrize(
    ("running", "down", "found"),
    [
        (True, [], []),
        (True, [THERE], [("A", THIRD, True)]),
        (False, [], [("A", THIRD, True)]),
    ],
    ids=["both have it", "the first is down", "it is off on the first"],
)
def test_while_a_server_migrates_it_has_not_moved(running: bool, down: list[str], found: list[Any]) -> None:
    hosts = Hosts()
    hosts.attach()
    hosts.sync(THERE, SERVER, running=running)
    hosts.sync(THIRD, SERVER)
    assert hosts.pending(down=down) == found


def test_another_server_that_stays_is_in_the_way_of_none() -> None:
    hosts = moved()
    hosts.sync(THERE, OTHER)
    assert hosts.pending() == [("A", THIRD, True)]


def test_another_server_that_runs_elsewhere_is_not_followed() -> None:
    hosts = Hosts()
    hosts.attach()
    hosts.sync(THERE)
    hosts.sync(THIRD, OTHER)
    assert hosts.pending() == []


@pytest.mark.parametrize("missing", ["rule", HERE, THIRD])
def test_one_that_moves_to_where_it_cannot_be_carried(missing: str) -> None:
    hosts = moved()
    hosts.lack(missing)
    hosts.sync(HERE)
    hosts.sync(THIRD, SERVER)
    assert hosts.pending() == [("A", THIRD, False)]


def test_home_it_can_follow_where_the_network_does_not_reach() -> None:
    hosts = moved()
    hosts.addresses[HERE] = None
    hosts.sync(THIRD)
    hosts.sync(HERE, SERVER)
    assert hosts.pending() == [("A", HERE, True)]


def test_of_two_hosts_that_claim_a_server_always_the_same_one_is_asked_about() -> None:
    """Else Nova is asked about both by turns, and the pause between two questions never grows."""
    hosts = moved()
    hosts.addresses["compute10"] = "compute10.example"
    hosts.sync("compute10", SERVER)
    assert hosts.pending() == [("A", "compute10", True)]


def test_following_is_a_new_claim() -> None:
    hosts = moved()
    hosts.serve()
    hosts.tell(THERE, State.FAILED, ReasonCode.CHANNEL_FAILED)
    [move] = hosts.moves()
    assert channels.follow(hosts.db, move.claim, THIRD)
    row = hosts.row()
    assert (row.generation, row.instance_uuid) == (2, SERVER)
    assert hosts.state() == (State.ATTACHING, None)
    assert hosts.where() == THIRD
    event = history.page(hosts.db, history.Filter(row.id))[0]
    assert (event.cause_code, event.state) == (ReasonCode.SERVER_MOVED, State.ATTACHING)
    assert not channels.follow(hosts.db, move.claim, THERE)
    assert hosts.where() == THIRD


def test_home_again_it_needs_no_channel() -> None:
    hosts = Hosts()
    hosts.attach()
    hosts.sync(THERE)
    hosts.sync(HERE, SERVER)
    [move] = hosts.moves()
    assert channels.follow(hosts.db, move.claim, HERE)
    assert hosts.where() is None
    assert hosts.told(HERE).peer is None
    hosts.tell(HERE, State.ATTACHED)
    assert hosts.state() == (State.ATTACHED, None)


@pytest.mark.parametrize("change", ["detached", "deleted"])
def test_a_claim_that_has_changed_follows_nobody(change: str) -> None:
    hosts = moved()
    [move] = hosts.moves()
    before = hosts.row()
    if change == "detached":
        assert intent.release(hosts.db, before.id, SERVER)
        # As one that was read after that.
        move = dataclasses.replace(move, claim=hosts.row())
    else:
        with hosts.db.writer() as session:
            session.execute(sa.delete(models.Device))
    assert channels.follow(hosts.db, move.claim, THIRD) is False
    assert [row.state for row in queries.devices(hosts.db)] == (
        [State.DETACHING] if change == "detached" else []
    )
