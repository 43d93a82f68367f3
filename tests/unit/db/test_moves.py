# SPDX-License-Identifier: Apache-2.0
"""Claims on one of a kind whose servers have moved, and what there is for them where they are now."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from compute_shim.db import intent, models, moves
from compute_shim.db.moves import Move
from compute_shim.objects import ReasonCode, State
from tests.unit.db.hosts import HERE, OTHER, SERVER, THERE, THIRD, Hosts
from tests.unit.db.test_absence import window

KIND = "dongle"
ABSENT = ReasonCode.DOMAIN_ABSENT


def claimed(transport: str | None, *serials: str) -> Hosts:
    """A server has dongles of its host; it may have some of other hosts by a transport."""
    hosts = Hosts(*(serials or ("A",)), kind=KIND)
    hosts.sync(THERE)
    hosts.sync(HERE, SERVER)
    for serial in serials or ("A",):
        hosts.attach(serial, host=None, transport=transport, kind=KIND)
    return hosts


def move(hosts: Hosts, host: str = THERE, code: ReasonCode = ABSENT, *, running: bool = True) -> None:
    """The server is on another host, and the agents say so."""
    hosts.sync(HERE)
    hosts.sync(host, SERVER, running=running)
    for device in hosts.sticks[HERE]:
        if hosts.row(device.serial).instance_uuid == SERVER:
            hosts.tell(HERE, State.WAITING, code, serial=device.serial)


def pending(hosts: Hosts) -> list[Move]:
    return list(moves.pending(hosts.db, window()))


def found(hosts: Hosts) -> list[tuple[str, str, bool, bool]]:
    """Serial number, where the server is, whether another one is free, and whether it can follow."""
    return [(it.claim.serial, it.host, it.may_be_replaced, it.may_be_carried) for it in pending(hosts)]


@pytest.mark.parametrize("transport", [None, "any"])
def test_the_oldest_claim_comes_first(transport: str | None) -> None:
    """However each may be fulfilled."""
    hosts = claimed(transport, "A", "B", "C")
    hosts.create(B=1, C=2, A=3)
    with hosts.db.writer() as session:
        first = sa.update(models.Device).where(models.Device.serial == "C")
        session.execute(first.values(claimed_transport="any" if transport is None else None))
    move(hosts)
    assert [serial for serial, *_ in found(hosts)] == ["B", "C", "A"]


def test_where_nobody_has_moved_it_costs_two_statements() -> None:
    """Every conductor looks every few seconds."""
    hosts = claimed("any")
    statements = hosts.statements()
    assert pending(hosts) == []
    assert len(statements) == 2


# On the server's host alone.


def test_a_free_one_there_may_replace_it() -> None:
    hosts = claimed(None)
    move(hosts)
    assert found(hosts) == [("A", THERE, False, False)]
    hosts.plug(THERE, "B", kind=KIND)
    hosts.sync(THERE, SERVER)
    assert found(hosts) == [("A", THERE, True, False)]


def test_one_of_another_host_may_not() -> None:
    hosts = claimed(None, "A")
    hosts.plug(HERE, "A", "C", kind=KIND)
    hosts.plug(THIRD, "B", kind=KIND)
    hosts.sync(THIRD)
    move(hosts)
    assert found(hosts) == [("A", THERE, False, False)]


def test_one_of_another_kind_may_not() -> None:
    hosts = claimed(None)
    hosts.plug(THERE, "B", kind="printer")
    move(hosts)
    assert found(hosts) == [("A", THERE, False, False)]


@pytest.mark.parametrize(("project_id", "may"), [("other", False), ("demo", True)])
def test_one_that_is_held_may_for_the_project_that_had_it(project_id: str, may: bool) -> None:
    hosts = claimed(None)
    hosts.plug(THERE, "B", kind=KIND, handover="hold")
    hosts.sync(THERE)
    with hosts.db.writer() as session:
        session.get_one(models.Device, hosts.row("B").id).last_project_id = project_id
    move(hosts)
    assert found(hosts) == [("A", THERE, may, False)]


@pytest.mark.parametrize(
    ("code", "running", "moved"),
    [
        (ABSENT, True, True),
        (ABSENT, False, False),
        (ReasonCode.SERVER_OFF, True, True),
        (ReasonCode.SERVER_OFF, False, False),
        (ReasonCode.SERVER_ON_OTHER_HOST, False, True),
        (ReasonCode.KIND_NOT_FREE, False, True),
        (ReasonCode.UNPLUGGED, True, False),
    ],
)
def test_when_a_server_seems_to_be_on_another_host(code: ReasonCode, running: bool, moved: bool) -> None:
    """It runs there, or Nova has said so; and its agent says that it is not on the device's host."""
    hosts = claimed(None)
    move(hosts, code=code, running=running)
    assert found(hosts) == ([("A", THERE, False, False)] if moved else [])


def test_of_two_hosts_that_have_a_server_the_one_where_it_runs() -> None:
    hosts = claimed(None)
    hosts.sync(THERE, SERVER, running=False)
    move(hosts, THIRD, ReasonCode.SERVER_ON_OTHER_HOST)
    assert found(hosts) == [("A", THIRD, False, False)]


def test_of_two_hosts_where_it_runs_always_the_same_one() -> None:
    """Else Nova is asked about both by turns, and the pause between two questions never grows."""
    hosts = claimed(None)
    hosts.sync(THIRD, SERVER)
    move(hosts)
    assert found(hosts) == [("A", THERE, False, False)]


def test_a_server_that_is_back_has_not_moved() -> None:
    """The agent has not told of the claim yet."""
    hosts = claimed(None)
    move(hosts, code=ReasonCode.KIND_NOT_FREE)
    hosts.sync(THERE)
    hosts.sync(HERE, SERVER)
    assert found(hosts) == []


def test_of_two_hosts_only_one_that_is_up() -> None:
    hosts = claimed(None)
    move(hosts)
    hosts.silence(THERE)
    assert found(hosts) == []


@pytest.mark.parametrize("what", ["it is attached", "it fails", "it is detached", "it was claimed itself"])
def test_a_claim_that_does_not_wait_for_its_server_stays(what: str) -> None:
    hosts = claimed(None)
    move(hosts)
    if what == "it is attached":
        hosts.tell(HERE, State.ATTACHED)
    elif what == "it fails":
        hosts.tell(HERE, State.FAILED, ABSENT)
    elif what == "it is detached":
        assert intent.release(hosts.db, hosts.row().id, SERVER)
    else:
        with hosts.db.writer() as session:
            session.execute(sa.update(models.Device).values(claimed_kind=None))
    assert found(hosts) == []


def test_another_server_there_has_not_moved() -> None:
    hosts = claimed(None)
    move(hosts)
    hosts.sync(THERE, OTHER)
    assert found(hosts) == []


# Over the network.


def test_its_own_device_may_be_carried() -> None:
    hosts = claimed("any")
    move(hosts)
    assert found(hosts) == [("A", THERE, False, True)]


@pytest.mark.parametrize("there", [THERE, THIRD])
def test_any_that_can_be_had_there_may_replace_it(there: str) -> None:
    """One of its host, or one of a third host over the network."""
    hosts = claimed("any")
    hosts.plug(there, "B", kind=KIND)
    hosts.sync(there)
    move(hosts)
    assert found(hosts) == [("A", THERE, True, True)]


@pytest.mark.parametrize(
    "why",
    [
        "its rule forbids it",
        "its host takes no part",
        "its host is down",
        "another kind",
        "it is taken",
    ],
)
def test_one_of_a_third_host_that_cannot_be_had(why: str) -> None:
    hosts = claimed("any")
    changes: dict[str, Any] = {"kind": KIND}
    if why == "its rule forbids it":
        changes["over_network"] = False
    elif why == "another kind":
        changes["kind"] = "printer"
    elif why == "its host takes no part":
        hosts.addresses[THIRD] = None
    hosts.plug(THIRD, "B", **changes)
    hosts.sync(THIRD)
    if why == "it is taken":
        hosts.attach("B", OTHER, host=None)
    move(hosts)
    if why == "its host is down":
        hosts.silence(THIRD)
    assert found(hosts) == [("A", THERE, False, True)]


def test_what_is_free_for_one_server_is_not_free_for_another() -> None:
    """Each may have what can be had on its own host."""
    hosts = claimed("any", "A")
    hosts.plug(HERE, "A", "B", kind=KIND)
    hosts.sync(HERE, SERVER, OTHER)
    hosts.attach("B", OTHER, host=None, transport="any", kind=KIND)
    hosts.plug(THERE, "C", kind=KIND, over_network=False)
    hosts.sync(THIRD, OTHER)
    hosts.sync(THERE, SERVER)
    hosts.sync(HERE)
    assert sorted(found(hosts)) == [("A", THERE, True, True), ("B", THIRD, False, True)]


def test_where_the_network_does_not_reach() -> None:
    hosts = claimed("any")
    hosts.addresses[THERE] = None
    move(hosts)
    assert found(hosts) == [("A", THERE, False, False)]


def test_a_claim_on_a_device_itself_is_no_business_of_kinds() -> None:
    hosts = Hosts()
    hosts.attach()
    hosts.sync(THERE)
    hosts.sync(THIRD, SERVER)
    assert found(hosts) == []
