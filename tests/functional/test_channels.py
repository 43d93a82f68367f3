# SPDX-License-Identifier: Apache-2.0
"""Devices that are used over the network, on every kind of database: claims, states, and what it costs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import sqlalchemy as sa

from compute_shim import nova
from compute_shim.conductor.carrying import Carrying
from compute_shim.db import channels, intent, models, queries, removal
from compute_shim.liveness import Window
from compute_shim.objects import ReasonCode, State
from tests.functional import statements
from tests.functional.world import SERVERS, World

FAR = SERVERS["FAR"].id


def attach(world: World) -> str:
    """The server on compute2 asks for the stick of compute1, which serves it; returns the id of the stick."""
    world.relays = {"compute1", "compute2"}
    sync(world)
    device_id = world.device_id("STICK1")
    body = {"attachment": {"device_id": device_id, "transport": "network"}}
    assert world.request("demo", "POST", f"/v1/servers/{FAR}/attachments", body).status_int == 202
    world.report(device_id, State.WAITING, reason_code=ReasonCode.CHANNEL_CONNECTING, port=49300)
    return device_id


def sync(world: World) -> dict[str, list[dict[str, Any]]]:
    """Both agents sync; what each is answered."""
    return {
        "compute1": world.sync("compute1", STICK1={"over_network": True}, STICK2={}),
        "compute2": world.sync("compute2", STICK4={}),
    }


def state(world: World) -> tuple[str, str | None]:
    """The state of the stick and its reason."""
    row = queries.device(world.db, world.device_id("STICK1"))
    assert row is not None
    return row.state, row.reason_code


def carrying(world: World, confirmed: bool = True) -> Carrying:
    """The conductor's component."""
    return Carrying(world.db, world.nudger, lambda: Window.now(world.conf), lambda server_id, host: confirmed)


def move(world: World, host: str) -> None:
    """The server is on another host, and both agents say so."""
    server = world.nova.servers[FAR]
    world.nova.servers[FAR] = dataclasses.replace(server, host_id=nova.host_id(server.project_id, host))
    sync(world)


def test_a_sync_tells_the_same_whether_it_is_repeated_or_not(every_world: World) -> None:
    device_id = attach(every_world)
    first = sync(every_world)
    with statements.recorded(every_world.db.engine()) as made:
        again = sync(every_world)
    assert [text.split()[0] for text in made] == ["UPDATE", "SELECT"] * 2
    for host, claims in first.items():
        assert sorted(again[host], key=str) == sorted(claims, key=str)
    [own] = [claim for claim in again["compute1"] if claim["device_id"] == device_id]
    assert (own["peer"], own["address"], own["state"]) == ("compute2", None, State.WAITING)
    [other] = [claim for claim in again["compute2"] if claim["device_id"] == device_id]
    assert (other["peer"], other["address"]) == ("compute1", "compute1.example:49300")
    assert (other["server_id"], other["state"]) == (FAR, State.ATTACHING)
    assert len(again["compute1"]) == len(again["compute2"]) == 2


def test_it_is_attached_when_both_ends_are_and_free_when_the_device_is(every_world: World) -> None:
    device_id = attach(every_world)
    assert state(every_world) == (State.ATTACHING, None)
    every_world.report(device_id, State.ATTACHED, port=49300)
    assert state(every_world) == (State.ATTACHING, None)
    every_world.report(device_id, State.ATTACHED, host="compute2")
    assert state(every_world) == (State.ATTACHED, None)
    every_world.report(device_id, State.WAITING, reason_code=ReasonCode.SERVER_OFF, host="compute2")
    assert state(every_world) == (State.WAITING, ReasonCode.SERVER_OFF)
    every_world.detach("demo", FAR, device_id)
    every_world.report(device_id, State.AVAILABLE, host="compute2")
    assert state(every_world)[0] == State.DETACHING
    every_world.report(device_id, State.AVAILABLE)
    assert state(every_world)[0] == State.AVAILABLE
    assert channels.server_hosts(every_world.db, [device_id]) == {}
    assert [len(claims) for claims in sync(every_world).values()] == [2, 1]


def test_the_agent_of_the_server_s_host_can_say_nothing_of_other_devices(world: World) -> None:
    """It may be hostile: it speaks of the claim that is carried to it, and of no other."""
    attach(world)
    other = world.device_id("STICK2")
    world.attach("demo", SERVERS["DEMO"].id, other)
    world.report(other, State.ATTACHED, host="compute2")
    row = queries.device(world.db, other)
    assert row is not None
    assert row.state == State.ATTACHING


def test_a_new_port_is_told_to_the_server_s_host(world: World) -> None:
    device_id = attach(world)
    before = len(world.nudger.nudges)
    world.report(device_id, State.WAITING, reason_code=ReasonCode.CHANNEL_CONNECTING, port=49300)
    assert len(world.nudger.nudges) == before
    world.report(device_id, State.WAITING, reason_code=ReasonCode.CHANNEL_CONNECTING, port=49301)
    host, claim = world.nudger.nudges[-1]
    assert (host, claim.address) == ("compute2", "compute1.example:49301")


def test_after_another_try_nothing_that_was_told_counts(world: World) -> None:
    device_id = attach(world)
    world.report(device_id, State.FAILED, reason_code=ReasonCode.NO_FREE_USB_PORT, host="compute2")
    assert state(world) == (State.FAILED, ReasonCode.NO_FREE_USB_PORT)
    assert intent.retry(world.db, device_id, FAR)
    claims = sync(world)["compute2"]
    assert [claim["address"] for claim in claims if claim["device_id"] == device_id] == [""]
    world.report(device_id, State.ATTACHED, port=49301)
    assert state(world) == (State.ATTACHING, None)


def test_it_follows_the_server_when_nova_confirms(every_world: World) -> None:
    device_id = attach(every_world)
    every_world.relays |= {"compute3"}
    every_world.sync("compute3")
    move(every_world, "compute3")
    every_world.sync("compute3")
    carrying(every_world, confirmed=False).follow()
    assert channels.server_hosts(every_world.db, [device_id]) == {device_id: "compute2"}
    carrying(every_world).follow()
    assert channels.server_hosts(every_world.db, [device_id]) == {device_id: "compute3"}
    hosts = [(host, claim.peer) for host, claim in every_world.nudger.nudges[-2:]]
    assert hosts == [("compute1", "compute3"), ("compute3", "compute1")]
    assert len(sync(every_world)["compute2"]) == 1
    before = len(every_world.nudger.nudges)
    carrying(every_world).follow()
    assert len(every_world.nudger.nudges) == before


def test_a_host_that_takes_no_part(world: World) -> None:
    device_id = attach(world)
    world.sync("compute3")
    move(world, "compute3")
    world.sync("compute3")
    carrying(world).follow()
    assert state(world) == (State.WAITING, ReasonCode.NO_NETWORK_TRANSPORT)
    assert channels.server_hosts(world.db, [device_id]) == {device_id: "compute2"}


def test_a_server_that_migrates_is_on_two_hosts_until_it_has(world: World) -> None:
    device_id = attach(world)
    server = {"uuid": FAR, "running": True, "usb_ports": None}
    world.conductor.sync({}, "compute3", "QEMU", "1.4", [], servers=[server], relay_address="compute3")
    carrying(world).follow()
    assert channels.server_hosts(world.db, [device_id]) == {device_id: "compute2"}
    world.silence("compute2")
    carrying(world).follow()
    assert channels.server_hosts(world.db, [device_id]) == {device_id: "compute3"}


@pytest.mark.parametrize("what", ["the claim", "the host"])
def test_what_is_removed_by_hand_leaves_no_channel(world: World, what: str) -> None:
    device_id = attach(world)
    world.silence("compute1")
    if what == "the claim":
        assert removal.release(world.db, device_id, Window.now(world.conf)) is not None
    else:
        assert removal.delete_host(world.db, "compute1", Window.now(world.conf))
    with world.db.reader() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(models.Channel)) == 0


def test_an_agent_of_rpc_1_3_learns_nothing_of_devices_elsewhere(world: World) -> None:
    device_id = attach(world)
    claims = world.conductor.sync({}, "compute2", "QEMU", "1.3", [])
    assert device_id not in [claim["device_id"] for claim in claims]


def test_the_history_says_that_the_connection_changed(world: World) -> None:
    device_id = attach(world)
    for host in ("compute1", "compute2"):
        world.report(device_id, State.ATTACHED, port=49300, host=host)
    world.report(device_id, State.WAITING, reason_code=ReasonCode.CHANNEL_UNREACHABLE, host="compute2")
    world.report(device_id, State.ATTACHED, host="compute2")
    events = world.request("demo", "GET", f"/v1/devices/{device_id}/events").json["events"]
    assert [(it["cause_code"], it["state"]) for it in events[:3]] == [
        (ReasonCode.CONNECTION_CHANGED, State.ATTACHED),
        (ReasonCode.CONNECTION_CHANGED, State.WAITING),
        (ReasonCode.REQUESTED, State.ATTACHED),
    ]


def ask_again(world: World, device_id: str, transport: str) -> None:
    body = {"attachment": {"device_id": device_id, "transport": transport}}
    response = world.request("demo", "POST", f"/v1/servers/{FAR}/attachments", body)
    assert (response.status_int, response.json["attachment"]["transport"]) == (202, transport)


def test_a_server_that_was_moved_away_asks_for_the_network(every_world: World) -> None:
    """Its claim was for its own host; now it need not detach the device, which others may wait for."""
    move(every_world, "compute1")
    every_world.relays = {"compute1", "compute2"}
    sync(every_world)
    device_id = every_world.device_id("STICK1")
    every_world.attach("demo", FAR, device_id)
    move(every_world, "compute2")
    every_world.report(device_id, State.WAITING, reason_code=ReasonCode.SERVER_ON_OTHER_HOST)
    carrying(every_world).follow()
    assert channels.server_hosts(every_world.db, [device_id]) == {}
    ask_again(every_world, device_id, "any")
    carrying(every_world).follow()
    assert channels.server_hosts(every_world.db, [device_id]) == {device_id: "compute2"}
    events = every_world.request("demo", "GET", f"/v1/devices/{device_id}/events").json["events"]
    causes = [event["cause_code"] for event in events[:2]]
    assert causes == [ReasonCode.SERVER_MOVED, ReasonCode.TRANSPORT_CHANGED]
    assert events[1]["user_id"]


def test_a_server_that_is_back_gives_up_the_network(every_world: World) -> None:
    device_id = attach(every_world)
    move(every_world, "compute1")
    ask_again(every_world, device_id, "local")
    assert channels.server_hosts(every_world.db, [device_id]) == {}
    assert state(every_world) == (State.ATTACHING, None)
    [claim] = [claim for claim in sync(every_world)["compute1"] if claim["device_id"] == device_id]
    assert (claim["server_id"], claim["peer"], claim["generation"]) == (FAR, None, 2)
    move(every_world, "compute2")
    carrying(every_world).follow()
    assert channels.server_hosts(every_world.db, [device_id]) == {}
