# SPDX-License-Identifier: Apache-2.0
"""What Nova's scheduler is offered, and claims that come of allocations."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import sqlalchemy as sa

from compute_shim import nova
from compute_shim.db import allocations, handover, history, intent, models, queries, sharing
from compute_shim.db.allocations import Offer
from compute_shim.db.api import Database
from compute_shim.db.events import Actor
from compute_shim.objects import ClaimStatus, ReasonCode, Server, State
from tests.unit.db.test_states import HOST, STICK, empty_database

ELSEWHERE = "compute2"
KIND = "dongle"
ACTOR = Actor("maker", "req-1", "demo")
MODEL = {"0781:5567"}


def server(name: str = "a", project_id: str = "demo") -> nova.Server:
    return nova.Server(name, project_id, nova.host_id(project_id, HOST), False, False, "maker")


class Hosts:
    """Sticks of a kind on a host."""

    def __init__(self, *serials: str) -> None:
        self.db: Database = empty_database()
        self.plug(HOST, *(serials or ("A",)))

    def plug(self, host: str, *serials: str, usb_ports: int | None = None, **changes: Any) -> None:
        """These are there, and no others."""
        stick = dataclasses.replace(STICK, **{"kind": KIND, **changes})
        sticks = [dataclasses.replace(stick, identity=it, serial=it) for it in serials]
        servers = {"a": Server(True, usb_ports)}
        queries.sync_host(self.db, host, "QEMU", "1.3", sticks, servers=servers)

    def plug_kinds(self, **kinds: str) -> None:
        """Serial number -> kind of each that is on the first host."""
        sticks = [dataclasses.replace(STICK, identity=it, serial=it, kind=kind) for it, kind in kinds.items()]
        queries.sync_host(self.db, HOST, "QEMU", "1.3", sticks)

    def row(self, serial: str = "A") -> models.Device:
        [row] = queries.devices(self.db, models.Device.serial == serial)
        return row

    def tell(self, state: State, serial: str = "A") -> None:
        row = self.row(serial)
        why = ReasonCode.CHANNEL_FAILED if state == State.FAILED else None
        queries.record_statuses(
            self.db, row.host, [ClaimStatus(row.id, row.generation, state, reason_code=why)]
        )

    def take(self, serial: str = "A", project_id: str = "demo") -> None:
        """Somebody claims a stick by hand."""
        assert intent.claim(self.db, self.row(serial).id, "b", project_id)

    def give_back(self, serial: str = "A") -> None:
        """And gives it back."""
        row = self.row(serial)
        assert intent.release(self.db, row.id, row.instance_uuid or "")
        self.tell(State.AVAILABLE, serial)

    def claim(self, number: int = 1, *kinds: str, name: str = "a", host: str = HOST) -> str | None:
        """The serial number of the device that a server of an allocation gets."""
        found = allocations.claim(self.db, server(name), host, kinds or (KIND,), number, ACTOR)
        if found is None:
            return None
        row = queries.device(self.db, found)
        assert row is not None
        return row.serial

    def offer(self, *up: str) -> Offer | None:
        """What is offered of the kind on the first host."""
        return allocations.offers(self.db, up or (HOST,)).get(HOST, {}).get(KIND)

    def has(self, name: str = "a") -> set[str]:
        return {row.serial for row in queries.devices(self.db, models.Device.instance_uuid == name)}


# What is offered.


def test_free_devices_are_offered() -> None:
    hosts = Hosts("A", "B")
    hosts.plug(ELSEWHERE, "C", vendor_id="0529", product_id="0001")
    assert allocations.offers(hosts.db, {HOST, ELSEWHERE}) == {
        HOST: {KIND: Offer(total=2, free=2, models=MODEL)},
        ELSEWHERE: {KIND: Offer(total=1, free=1, models={"0529:0001"})},
    }


def test_a_device_without_a_kind_is_not() -> None:
    hosts = Hosts()
    queries.sync_host(hosts.db, HOST, "QEMU", "1.3", [STICK])
    assert allocations.offers(hosts.db, {HOST}) == {}


def test_what_is_claimed_by_hand_is_reserved() -> None:
    hosts = Hosts("A", "B")
    hosts.take("A")
    assert hosts.offer() == Offer(total=2, reserved=1, free=1, models=MODEL)


def test_what_is_allocated_is_not_reserved() -> None:
    hosts = Hosts("A", "B")
    assert hosts.claim() == "A"
    assert hosts.offer() == Offer(total=2, reserved=0, free=1, models=MODEL)


def test_until_it_is_out_of_the_server_it_is_reserved() -> None:
    """The allocation has ended: Nova may give away what is free alone."""
    hosts = Hosts()
    hosts.claim()
    assert allocations.release(hosts.db, hosts.row())
    assert hosts.offer() == Offer(total=1, reserved=1, free=0, models=MODEL)
    hosts.tell(State.AVAILABLE)
    assert hosts.offer() == Offer(total=1, reserved=0, free=1, models=MODEL)


def test_an_allocated_device_counts_as_what_it_was_allocated_as() -> None:
    """Its rule says something else meanwhile; as soon as it is free that counts."""
    hosts = Hosts()
    hosts.claim()
    hosts.plug(HOST, "A", kind="printer")
    assert allocations.offers(hosts.db, {HOST}) == {HOST: {KIND: Offer(total=1, models=MODEL)}}
    assert allocations.release(hosts.db, hosts.row())
    hosts.tell(State.AVAILABLE)
    assert allocations.offers(hosts.db, {HOST}) == {HOST: {"printer": Offer(total=1, free=1, models=MODEL)}}


def test_on_a_host_that_is_down_only_what_is_claimed_is_offered() -> None:
    hosts = Hosts("A", "B", "C")
    hosts.take("A")
    assert hosts.claim() == "B"
    assert hosts.offer(ELSEWHERE) == Offer(total=2, reserved=1, free=0, models=MODEL)
    assert hosts.offer(HOST) == Offer(total=3, reserved=1, free=1, models=MODEL)


def test_what_only_one_project_may_have_is_offered() -> None:
    """Its server is the one that gets it."""
    hosts = Hosts()
    hosts.plug(HOST, "A", "B", "C", shared=False)
    assert hosts.offer() is None
    sharing.add_project(hosts.db, hosts.row("B").id, "demo", ACTOR)
    assert hosts.offer() == Offer(total=1, free=1, models=MODEL)


@pytest.mark.parametrize(("rule", "offered"), [("hold", False), ("none", True)])
def test_what_is_held_for_the_project_that_had_it_is_not_offered(rule: str, offered: bool) -> None:
    hosts = Hosts()
    hosts.plug(HOST, "A", handover=rule)
    assert hosts.offer() == Offer(total=1, free=1, models=MODEL)
    hosts.take()
    hosts.tell(State.ATTACHED)
    hosts.give_back()
    assert hosts.offer() == (Offer(total=1, free=1, models=MODEL) if offered else None)
    handover.release(hosts.db, hosts.row().id, ACTOR)
    assert hosts.offer() == Offer(total=1, free=1, models=MODEL)


# Claims.


def test_the_claims_from_allocations() -> None:
    hosts = Hosts("A", "B", "C", "D")
    hosts.take("A")
    assert [hosts.claim(3), hosts.claim(3), hosts.claim(3)] == ["B", "C", "D"]
    assert allocations.release(hosts.db, hosts.row("C"))
    hosts.tell(State.ATTACHED, "B")
    assert [row.serial for row in allocations.claims(hosts.db)] == ["D", "B"]


def test_a_server_gets_what_is_allocated_to_it() -> None:
    hosts = Hosts()
    assert hosts.claim() == "A"
    row = hosts.row()
    assert (row.state, row.instance_uuid, row.project_id, row.user_id) == (
        State.ATTACHING,
        "a",
        "demo",
        "maker",
    )
    assert (row.allocated, row.claimed_kind, row.claimed_transport) == (True, KIND, None)
    event = history.page(hosts.db, history.Filter(row.id))[0]
    assert (event.cause_code, event.user_id, event.request_id) == (ReasonCode.ALLOCATED, "maker", "req-1")


def test_a_server_gets_no_more_than_is_allocated_to_it() -> None:
    hosts = Hosts("A", "B", "C")
    assert [hosts.claim(2), hosts.claim(2), hosts.claim(2)] == ["A", "B", None]
    assert hosts.claim(0) is None
    assert hosts.row("C").state == State.AVAILABLE


@pytest.mark.parametrize(
    "other", ["another server has", "it has by hand", "it has of another kind", "it gives back"]
)
def test_what_does_not_count(other: str) -> None:
    """Of an allocation of one, the server still lacks one."""
    hosts = Hosts("A", "B")
    if other == "another server has":
        assert hosts.claim(name="b") == "A"
    elif other == "it has by hand":
        assert intent.claim(hosts.db, hosts.row("A").id, "a", "demo", kind=KIND)
    elif other == "it has of another kind":
        hosts.plug_kinds(A="printer", B=KIND)
        assert hosts.claim(1, "printer") == "A"
    else:
        assert hosts.claim() == "A"
        assert allocations.release(hosts.db, hosts.row("A"))
    assert hosts.claim() == "B"


def test_a_class_may_be_that_of_several_kinds() -> None:
    hosts = Hosts("A", "B")
    hosts.plug_kinds(A="Dongle", B=KIND)
    assert {hosts.claim(2, "Dongle", KIND), hosts.claim(2, "Dongle", KIND)} == {"A", "B"}
    assert (hosts.row("A").claimed_kind, hosts.row("B").claimed_kind) == ("Dongle", KIND)
    assert hosts.claim(2, "Dongle", KIND) is None


def test_the_device_is_one_of_the_host() -> None:
    hosts = Hosts()
    hosts.plug(ELSEWHERE, "B")
    assert hosts.claim(host=ELSEWHERE) == "B"
    assert hosts.row("A").state == State.AVAILABLE
    assert hosts.claim(2, host=ELSEWHERE) is None


def test_the_device_is_of_a_kind_of_the_class() -> None:
    hosts = Hosts("A", "B")
    hosts.plug_kinds(A="printer", B=KIND)
    assert [hosts.claim(2), hosts.claim(2)] == ["B", None]
    assert hosts.row("A").state == State.AVAILABLE


@pytest.mark.parametrize(
    "why",
    ["it is shared with others", "another project had it", "an administrator withholds it", "it is taken"],
)
def test_what_the_project_cannot_have_it_does_not_get(why: str) -> None:
    hosts = Hosts("A", "B")
    if why == "it is shared with others":
        hosts.plug(HOST, "A", "B", shared=False)
        sharing.add_project(hosts.db, hosts.row("A").id, "other", ACTOR)
        sharing.add_project(hosts.db, hosts.row("B").id, "demo", ACTOR)
    elif why == "another project had it":
        hosts.plug(HOST, "A", "B", handover="hold")
        hosts.take("A", "other")
        hosts.tell(State.ATTACHED)
        hosts.give_back()
    elif why == "an administrator withholds it":
        queries.set_device(hosts.db, hosts.row("A").id, ACTOR, enabled=False)
    else:
        hosts.take("A")
    assert [hosts.claim(2), hosts.claim(2)] == ["B", None]
    assert hosts.has() == {"B"}


def test_a_server_without_a_free_port_gets_none() -> None:
    hosts = Hosts("A", "B")
    hosts.plug(HOST, "A", "B", usb_ports=1)
    assert [hosts.claim(2), hosts.claim(2)] == ["A", None]
    assert hosts.row("B").state == State.AVAILABLE


def test_two_conductors_claim_one_after_the_other() -> None:
    """Whether or not the project has a limit."""
    hosts = Hosts()
    hosts.claim()
    with hosts.db.reader() as session:
        assert session.scalars(sa.select(models.Project.project_id)).all() == ["demo"]


# The end.


def test_a_device_is_given_back_when_its_allocation_has_ended() -> None:
    hosts = Hosts()
    hosts.claim()
    claim = hosts.row()
    assert allocations.release(hosts.db, claim) is True
    assert (hosts.row().state, hosts.row().generation) == (State.DETACHING, claim.generation + 1)
    event = history.page(hosts.db, history.Filter(claim.id))[0]
    assert event.cause_code == ReasonCode.ALLOCATION_ENDED


@pytest.mark.parametrize("change", ["claimed anew", "given back", "deleted"])
def test_a_claim_that_has_changed_is_left_alone(change: str) -> None:
    hosts = Hosts()
    hosts.claim()
    claim = hosts.row()
    if change == "claimed anew":
        hosts.give_back()
        hosts.take()
    elif change == "given back":
        assert intent.release(hosts.db, claim.id, "a")
        claim = hosts.row()
    else:
        with hosts.db.writer() as session:
            session.execute(sa.delete(models.Device))
    before = [(row.state, row.generation) for row in queries.devices(hosts.db)]
    assert allocations.release(hosts.db, claim) is False
    assert [(row.state, row.generation) for row in queries.devices(hosts.db)] == before


def test_the_history_of_a_host_says_what_is_not_fulfilled() -> None:
    hosts = Hosts()
    allocations.record_unfulfilled(hosts.db, HOST, "no dongle is free")
    event = history.page(hosts.db, history.Filter())[0]
    assert (event.host, event.cause_code) == (HOST, ReasonCode.ALLOCATION_UNFULFILLED)
    assert (event.reason_code, event.state_reason) == (ReasonCode.ALLOCATION_UNFULFILLED, "no dongle is free")


def test_where_nothing_is_offered_any_more_claims_are_as_made_by_hand() -> None:
    hosts = Hosts("A")
    hosts.plug(ELSEWHERE, "B", "C")
    assert (hosts.claim(1), hosts.claim(2, host=ELSEWHERE)) == ("A", "B")
    hosts.take("C")
    allocations.forget(hosts.db, besides=[HOST])
    found = {row.serial: (row.allocated, row.instance_uuid) for row in queries.devices(hosts.db)}
    assert found == {"A": (True, "a"), "B": (None, "a"), "C": (None, "b")}
