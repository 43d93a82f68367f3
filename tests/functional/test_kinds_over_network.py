# SPDX-License-Identifier: Apache-2.0
"""Kinds of devices, and the queue, where servers may have devices of other hosts over the network."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
import webob

from compute_shim import nova
from compute_shim.api import transports
from compute_shim.conductor.carrying import Carrying
from compute_shim.conductor.serving import Serving
from compute_shim.db import channels, models, queries, queue
from compute_shim.liveness import Window
from compute_shim.objects import ReasonCode, State
from tests.functional.world import SERVERS, World

DEMO, FAR = SERVERS["DEMO"].id, SERVERS["FAR"].id
DONGLE = {"kind": "dongle"}
CARRIED = {"kind": "dongle", "over_network": True}
HOSTS = {"compute1", "compute2", "compute3"}


def plug(world: World, **hosts: dict[str, dict[str, Any]]) -> None:
    """What is plugged into each host, as the agents tell; all of them take part in the network transport."""
    world.relays = set(HOSTS)
    world.plugged |= hosts
    sync(world)


def sync(world: World, *down: str) -> None:
    """All agents sync, but those of hosts that are down."""
    for host in world.plugged:
        if host not in down:
            world.sync(host, **world.plugged[host])
    for host in down:
        world.silence(host)


def attach(world: World, server_id: str, transport: str = "any") -> webob.Response:
    """Somebody wants a dongle."""
    body = {"attachment": {"kind": "dongle", "transport": transport}}
    return world.request("demo", "POST", f"/v1/servers/{server_id}/attachments", body)


def join(world: World, server_id: str, transport: str = "any", **wanted: str) -> webob.Response:
    """Somebody gets in line, for a dongle if nothing else is said."""
    body = {"entry": {"transport": transport, **(wanted or {"kind": "dongle"})}}
    return world.request("demo", "POST", f"/v1/servers/{server_id}/queue", body)


def row(world: World, stick: str) -> models.Device:
    """A stick."""
    found = queries.device(world.db, world.device_id(stick))
    assert found is not None
    return found


def owner(world: World, stick: str) -> tuple[str | None, str | None]:
    """Which server has a stick, and on which other host."""
    found = row(world, stick)
    held = found.instance_uuid if found.state != State.DETACHING else None
    return held, channels.server_hosts(world.db, [found.id]).get(found.id) if held else None


def history(world: World, stick: str) -> list[Any]:
    """The events of a stick."""
    path = f"/v1/devices/{world.device_id(stick)}/events"
    return list(world.request("admin", "GET", path).json["events"])


def free(world: World, stick: str) -> None:
    """Its server gives a stick back, and it is out of it."""
    found = row(world, stick)
    if found.state != State.DETACHING:
        assert world.detach("demo", found.instance_uuid or "", found.id).status_int == 202
    world.report(found.id, State.AVAILABLE)


def claim_to_run(world: World, host: str, *servers: str, running: bool = True) -> None:
    """An agent tells that these servers run on its host, whatever Nova says."""
    domains = [{"uuid": server_id, "running": running, "usb_ports": None} for server_id in servers]
    world.conductor.sync({}, host, "QEMU", "1.4", [], servers=domains, relay_address=f"{host}.example")


def serving(world: World, is_on: Callable[[str, str], bool]) -> Serving:
    """The conductor's component."""
    limits = world.keystone.limits
    return Serving(world.db, world.nudger, limits, None, lambda: Window.now(world.conf), is_on)


def serve(world: World, confirmed: bool = True) -> None:
    """The conductor looks for what there is to do, in all its parts."""
    serving(world, lambda server_id, host: confirmed).serve()
    Carrying(world.db, world.nudger, lambda: Window.now(world.conf), lambda *_: confirmed).follow()


def move(world: World, server_id: str, host: str, *down: str) -> None:
    """A server is on another host, and the agents say so."""
    server = world.nova.servers[server_id]
    world.nova.servers[server_id] = dataclasses.replace(server, host_id=nova.host_id(server.project_id, host))
    sync(world, *down)


# Attach.


def test_one_of_the_servers_host_comes_first(every_world: World) -> None:
    world = every_world
    plug(world, compute1={"STICK1": CARRIED, "STICK2": CARRIED}, compute2={"STICK4": DONGLE})
    first = attach(world, FAR)
    assert first.status_int == 202
    assert first.json["attachment"]["device_id"] == world.device_id("STICK4")
    assert (first.json["attachment"]["transport"], first.json["attachment"]["over_network"]) == ("any", False)
    in_order = [it.id for it in queries.devices(world.db, models.Device.host == "compute1")]
    for device_id in in_order:
        answer = attach(world, FAR).json["attachment"]
        assert (answer["device_id"], answer["kind"], answer["over_network"]) == (device_id, "dongle", True)
        assert [(host, claim.peer) for host, claim in world.nudger.nudges[-2:]] == [
            ("compute1", "compute2"),
            ("compute2", "compute1"),
        ]
    answer = attach(world, FAR)
    assert (answer.status_int, answer.json["error"]["reason_code"]) == (409, "kind_not_free")
    assert "or over the network. Wait" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("stick", "relays", "down", "why"),
    [
        (DONGLE, HOSTS, (), "the device may not be used over the network"),
        (CARRIED, {"compute1"}, (), "does not support USB over the network"),
        (CARRIED, {"compute2"}, (), "does not support USB over the network"),
        (CARRIED, HOSTS, ("compute1",), "or over the network. Wait"),
    ],
)
def test_what_cannot_be_carried(
    world: World, stick: dict[str, Any], relays: set[str], down: tuple[str, ...], why: str
) -> None:
    plug(world, compute1={"STICK1": stick}, compute2={})
    world.relays = relays
    sync(world, *down)
    answer = attach(world, FAR)
    assert (answer.status_int, answer.json["error"]["reason_code"]) == (409, "kind_not_free")
    assert why in answer.json["error"]["message"]
    assert attach(world, FAR, "local").json["error"]["reason_code"] == "kind_not_free"


def test_who_insists_on_the_network_gets_what_may_be_carried(world: World) -> None:
    """On the own host as well, so that it can follow the server."""
    plug(world, compute1={"STICK1": CARRIED}, compute2={"STICK4": DONGLE})
    assert attach(world, FAR, "network").json["attachment"]["device_id"] == world.device_id("STICK1")
    assert attach(world, FAR, "network").status_int == 409
    plug(world, compute2={"STICK4": CARRIED})
    answer = attach(world, FAR, "network").json["attachment"]
    assert (answer["device_id"], answer["over_network"]) == (world.device_id("STICK4"), False)


def test_of_another_kind_or_not_shared(world: World) -> None:
    plug(
        world,
        compute1={"STICK1": CARRIED | {"kind": "printer"}, "STICK2": CARRIED | {"shared": False}},
        compute2={},
    )
    assert attach(world, FAR).status_int == 404


def test_both_words_of_the_rule_say_the_same(every_world: World) -> None:
    """The API's, which says why not, and that of the queue and the conductor, which is SQL."""
    world = every_world
    plug(world, compute1={"STICK1": CARRIED}, compute2={"STICK4": CARRIED})
    call: Any = SimpleNamespace(service=world)
    relays = [set(), {"compute1"}, {"compute2"}, HOSTS]
    for over_network, taking_part in itertools.product((False, True), relays):
        world.relays = taking_part
        world.sync("compute1", STICK1=DONGLE | {"over_network": over_network})
        world.sync("compute2", STICK4=CARRIED)
        stick = row(world, "STICK1")
        for transport, host in itertools.product(("local", "network", "any"), ("compute1", "compute2")):
            stored = sa.literal(transports.stored(transport), sa.String)
            with world.db.reader() as session:
                found = session.scalars(
                    sa.select(models.Device.id).where(
                        models.Device.id == stick.id, channels.usable(stored, models.Device, host)
                    )
                ).all()
            obstacle = transports.obstacle(call, stick, host, transport)
            assert (found == [stick.id]) == (obstacle is None), (over_network, taking_part, transport, host)


def test_of_many_at_once_each_gets_one(every_world: World) -> None:
    world = every_world
    sticks = {"STICK1": CARRIED, "STICK2": CARRIED, "STICK3": CARRIED}
    servers = []
    for number in range(12):
        like = SERVERS["DEMO" if number % 2 else "FAR"]
        server_id = f"10000000-0000-0000-0000-{number:012}"
        world.nova.servers[server_id] = dataclasses.replace(like, id=server_id)
        servers.append(server_id)
    plug(world, compute1=sticks, compute2={"STICK4": CARRIED})
    with ThreadPoolExecutor(len(servers)) as pool:
        answers = list(pool.map(lambda server_id: attach(world, server_id), servers))
    assert Counter(answer.status_int for answer in answers) == {202: 4, 409: 8}
    rows = queries.devices(world.db)
    assert len({it.instance_uuid for it in rows}) == 4
    elsewhere = channels.server_hosts(world.db, [it.id for it in rows])
    for it in rows:
        server = world.nova.servers[it.instance_uuid or ""]
        host = next(name for name in HOSTS if nova.host_id(server.project_id, name) == server.host_id)
        assert elsewhere.get(it.id, it.host) == host


# The queue.


def test_who_is_in_line_gets_one_of_another_host(every_world: World) -> None:
    world = every_world
    plug(world, compute1={"STICK1": CARRIED}, compute2={})
    assert attach(world, DEMO).status_int == 202
    entry = join(world, FAR)
    assert (entry.status_int, entry.json["entry"]["transport"]) == (202, "any")
    serve(world)
    assert owner(world, "STICK1") == (DEMO, None)
    free(world, "STICK1")
    late = world.attach("demo", SERVERS["DEMO2"].id, world.device_id("STICK1"))
    assert late.json["error"]["reason_code"] == "queued_for_others"
    serve(world)
    assert owner(world, "STICK1") == (FAR, "compute2")
    found = row(world, "STICK1")
    assert (found.claimed_kind, found.claimed_transport) == ("dongle", "any")
    assert {host for host, _ in world.nudger.nudges[-2:]} == {"compute1", "compute2"}
    assert queue.waiting(world.db) == []


def test_the_word_of_an_agent_alone_gets_no_host_a_device(world: World) -> None:
    """Who else is in line is served, and Nova is asked less and less often."""
    plug(world, compute1={"STICK1": CARRIED, "STICK2": CARRIED}, compute2={}, compute3={})
    domain = {"uuid": FAR, "running": True, "usb_ports": None}
    world.conductor.sync(
        {}, "compute3", "QEMU", "1.4", [], servers=[domain], relay_address="compute3.example"
    )
    claim_to_run(world, "compute2")
    join(world, FAR)
    join(world, SERVERS["DEMO2"].id, "local")
    asked: list[tuple[str, str]] = []

    def is_on(server_id: str, host: str) -> bool:
        asked.append((server_id, host))
        return False

    conductor = serving(world, is_on)
    conductor.serve()
    conductor.serve()
    assert asked == [(FAR, "compute3")]
    assert {owner(world, "STICK1")[0], owner(world, "STICK2")[0]} == {None, SERVERS["DEMO2"].id}
    assert [it.entry.server_id for it in queue.waiting(world.db)] == [FAR]


def test_nova_is_not_asked_again_and_again(world: World) -> None:
    """It may not answer: about one server in each pass, about none twice unless it gets in line anew."""
    other = "10000000-0000-0000-0000-000000000001"
    world.nova.servers[other] = dataclasses.replace(SERVERS["FAR"], id=other)
    plug(world, compute1={"STICK1": CARRIED, "STICK2": CARRIED}, compute2={})
    first = join(world, FAR).json["entry"]["id"]
    join(world, other)
    asked: list[str] = []

    def is_on(server_id: str, host: str) -> bool:
        asked.append(server_id)
        return False

    conductor = serving(world, is_on)
    for expected in ([FAR], [FAR, other], [FAR, other]):
        conductor.serve()
        assert asked == expected
    assert queue.leave(world.db, FAR, first)
    conductor.serve()
    join(world, FAR)
    conductor.serve()
    assert asked == [FAR, other, FAR]


def test_of_two_hosts_that_claim_a_server_nova_knows_which(world: World) -> None:
    plug(world, compute1={"STICK1": CARRIED}, compute2={}, compute3={})
    domain = {"uuid": FAR, "running": True, "usb_ports": None}
    world.conductor.sync(
        {}, "compute3", "QEMU", "1.4", [], servers=[domain], relay_address="compute3.example"
    )
    join(world, FAR)
    conductor = serving(world, lambda server_id, host: host == "compute3")
    conductor.serve()
    conductor.serve()
    assert owner(world, "STICK1") == (FAR, "compute3")


def test_in_line_as_well_the_own_host_comes_first(world: World) -> None:
    plug(world, compute1={"STICK1": CARRIED}, compute2={})
    plug(world, compute2={"STICK4": DONGLE})
    assert [attach(world, DEMO).status_int, attach(world, FAR).status_int] == [202, 202]
    join(world, FAR)
    free(world, "STICK1")
    free(world, "STICK4")
    serve(world)
    assert (owner(world, "STICK1")[0], owner(world, "STICK4")[0]) == (None, FAR)


def test_the_order_of_the_line_counts_more_than_the_host(world: World) -> None:
    plug(world, compute1={"STICK1": CARRIED}, compute2={})
    attach(world, DEMO)
    join(world, FAR)
    join(world, SERVERS["DEMO2"].id)
    assert [it.place for it in queue.waiting(world.db)] == [1, 2]
    free(world, "STICK1")
    serve(world)
    assert owner(world, "STICK1") == (FAR, "compute2")


@pytest.mark.parametrize(
    ("stick", "relays", "down"),
    [(DONGLE, HOSTS, ()), (CARRIED, {"compute1"}, ()), (CARRIED, HOSTS, ("compute1",))],
)
def test_in_line_for_what_cannot_be_carried(
    world: World, stick: dict[str, Any], relays: set[str], down: tuple[str, ...]
) -> None:
    """It waits until it can be; a server on the device's host may have it meanwhile, if that is up."""
    plug(world, compute1={"STICK1": stick}, compute2={})
    world.relays = relays
    sync(world, *down)
    assert join(world, FAR).status_int == 202
    assert queue.idle(world.db, Window.now(world.conf)) == []
    serve(world)
    assert owner(world, "STICK1") == (None, None)
    explained = world.request(
        "demo", "GET", f"/v1/devices/{world.device_id('STICK1')}/explain?server_id={FAR}"
    ).json["explanation"]
    assert not explained["attachable"]
    plug(world, compute1={"STICK1": CARRIED})
    serve(world)
    assert owner(world, "STICK1") == (FAR, "compute2")


def test_in_line_for_the_own_host_alone(world: World) -> None:
    plug(world, compute1={"STICK1": CARRIED}, compute2={})
    join(world, FAR, "local")
    serve(world)
    assert owner(world, "STICK1") == (None, None)
    assert attach(world, DEMO).status_int == 202


def test_who_asks_again_may_ask_for_another_transport(world: World) -> None:
    plug(world, compute1={"STICK1": CARRIED}, compute2={})
    first = join(world, FAR, "local").json["entry"]
    again = join(world, FAR, "any").json["entry"]
    assert (again["id"], again["transport"]) == (first["id"], "any")
    serve(world)
    assert owner(world, "STICK1") == (FAR, "compute2")


def test_in_line_for_one_device(world: World) -> None:
    plug(world, compute1={"STICK1": DONGLE}, compute2={})
    device_id = world.device_id("STICK1")
    codes = {
        transport: join(world, FAR, transport, device_id=device_id).json["error"]["reason_code"]
        for transport in ("local", "any")
    }
    assert codes == {"local": "device_on_other_host", "any": "network_not_allowed"}
    plug(world, compute1={"STICK1": CARRIED})
    assert join(world, FAR, "any", device_id=device_id).status_int == 202
    serve(world)
    assert owner(world, "STICK1") == (FAR, "compute2")
    assert row(world, "STICK1").claimed_kind is None


# The server moves.


@pytest.mark.parametrize("transport", ["any", "network"])
def test_a_free_one_on_the_new_host_takes_over(every_world: World, transport: str) -> None:
    world = every_world
    plug(world, compute1={"STICK1": CARRIED}, compute2={})
    attach(world, FAR, transport)
    plug(world, compute2={"STICK3": CARRIED}, compute3={"STICK4": CARRIED})
    serve(world)
    assert owner(world, "STICK1") == (FAR, "compute2"), "while the server stays, it keeps what it has"
    move(world, FAR, "compute3")
    serve(world, confirmed=False)
    assert owner(world, "STICK1") == (FAR, "compute2")
    serve(world)
    assert (owner(world, "STICK1")[0], owner(world, "STICK4")) == (None, (FAR, None))
    assert row(world, "STICK4").claimed_transport == transport
    assert row(world, "STICK1").state == State.DETACHING
    free(world, "STICK1")
    assert channels.server_hosts(world.db, [it.id for it in queries.devices(world.db)]) == {}


def test_else_its_device_follows(every_world: World) -> None:
    world = every_world
    plug(world, compute1={"STICK1": CARRIED}, compute2={}, compute3={})
    attach(world, DEMO)
    move(world, DEMO, "compute2")
    serve(world)
    assert owner(world, "STICK1") == (DEMO, "compute2")
    move(world, DEMO, "compute3")
    serve(world)
    assert owner(world, "STICK1") == (DEMO, "compute3")
    generation = row(world, "STICK1").generation
    plug(world, compute1={"STICK1": CARRIED, "STICK2": CARRIED})
    move(world, DEMO, "compute1")
    serve(world)
    assert owner(world, "STICK1") == (DEMO, None), "at home, no other one takes its place"
    serve(world)
    assert row(world, "STICK1").generation == generation + 1


def test_from_a_host_that_died_one_of_a_third_host_takes_over(every_world: World) -> None:
    """Evacuated."""
    world = every_world
    plug(world, compute1={"STICK1": CARRIED}, compute2={}, compute3={"STICK4": CARRIED})
    attach(world, DEMO)
    move(world, DEMO, "compute2", "compute1")
    serve(world)
    assert owner(world, "STICK4") == (DEMO, "compute2")
    assert row(world, "STICK1").state == State.DETACHING


def test_nova_is_asked_only_where_there_is_something_to_get(world: World) -> None:
    """The third host is down as well."""
    plug(world, compute1={"STICK1": CARRIED}, compute2={}, compute3={"STICK4": CARRIED})
    attach(world, DEMO)
    move(world, DEMO, "compute2", "compute1", "compute3")

    def is_on(server_id: str, host: str) -> bool:
        raise AssertionError

    serving(world, is_on).serve()
    found = row(world, "STICK1")
    assert (found.instance_uuid, found.reason_code) == (DEMO, ReasonCode.KIND_NOT_FREE)


def test_else_it_waits_before_those_in_line(world: World) -> None:
    plug(world, compute1={"STICK1": DONGLE}, compute2={"STICK4": DONGLE})
    attach(world, DEMO)
    attach(world, FAR)
    other = SERVERS["DEMO2"].id
    move(world, other, "compute2")
    join(world, other)
    move(world, DEMO, "compute2")
    serve(world)
    found = row(world, "STICK1")
    assert (found.state, found.reason_code) == (State.WAITING, ReasonCode.KIND_NOT_FREE)
    events = len(history(world, "STICK1"))
    serve(world)
    assert len(history(world, "STICK1")) == events, "waiting longer is no news"
    free(world, "STICK4")
    serve(world)
    assert owner(world, "STICK4") == (DEMO, None)
    assert [it.entry.server_id for it in queue.waiting(world.db)] == [other]


def test_with_network_only_what_may_be_carried_takes_over(world: World) -> None:
    plug(world, compute1={"STICK1": CARRIED}, compute2={}, compute3={"STICK4": DONGLE})
    attach(world, DEMO, "network")
    move(world, DEMO, "compute3")
    world.report(world.device_id("STICK1"), State.WAITING, reason_code=ReasonCode.DOMAIN_ABSENT)
    serve(world)
    assert (owner(world, "STICK1"), owner(world, "STICK4")[0]) == ((DEMO, "compute3"), None)
    codes = [event["reason_code"] for event in history(world, "STICK1")]
    assert ReasonCode.KIND_NOT_FREE not in codes


def test_the_network_is_used_when_it_can_be_again(world: World) -> None:
    plug(world, compute1={"STICK1": CARRIED}, compute2={})
    attach(world, DEMO)
    world.relays = {"compute1"}
    move(world, DEMO, "compute2")
    serve(world)
    assert row(world, "STICK1").reason_code == ReasonCode.KIND_NOT_FREE
    world.relays = set(HOSTS)
    sync(world)
    serve(world)
    assert owner(world, "STICK1") == (DEMO, "compute2")


def test_while_the_server_is_off_nothing_is_exchanged(world: World) -> None:
    """It was migrated cold."""
    plug(world, compute1={"STICK1": CARRIED}, compute2={}, compute3={"STICK4": CARRIED})
    attach(world, DEMO)
    move(world, DEMO, "compute2")
    claim_to_run(world, "compute2", DEMO, running=False)
    world.report(world.device_id("STICK1"), State.WAITING, reason_code=ReasonCode.SERVER_ON_OTHER_HOST)
    serve(world)
    assert owner(world, "STICK1") == (DEMO, None)
    claim_to_run(world, "compute2", DEMO)
    serve(world)
    assert owner(world, "STICK1") == (DEMO, "compute2")


def test_a_local_claim_is_not_carried(world: World) -> None:
    plug(world, compute1={"STICK1": CARRIED}, compute2={}, compute3={"STICK4": CARRIED})
    attach(world, DEMO, "local")
    move(world, DEMO, "compute2")
    world.report(world.device_id("STICK1"), State.WAITING, reason_code=ReasonCode.DOMAIN_ABSENT)
    serve(world)
    assert row(world, "STICK1").reason_code == ReasonCode.KIND_NOT_FREE
    assert owner(world, "STICK4") == (None, None)
