# SPDX-License-Identifier: Apache-2.0
"""Many at once, through the real API, on real connections to the database."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import webob

from compute_shim.db import models, queries
from compute_shim.objects import State
from tests.functional.world import SERVERS, World

_ROUNDS = 5
_CLIENTS = 20


def _at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """The results of calls that all begin together."""
    barrier = threading.Barrier(len(calls))

    def begin(call: Callable[[], Any]) -> Any:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(begin, calls))


def _message(answer: webob.Response) -> str:
    return answer.json["error"]["message"]


def test_one_of_twenty_gets_the_device(every_world: World) -> None:
    world = every_world
    world.sync(STICK1={})
    device_id = world.device_id("STICK1")
    contenders = [("demo", SERVERS["DEMO"]), ("other", SERVERS["OTHER"])]
    wanted = [
        # A server of one's own, or asking twice would be no conflict.
        _clone(world, *contenders[number % 2], number)
        for number in range(_CLIENTS)
    ]
    for _ in range(_ROUNDS):
        before = queries.device(world.db, device_id)
        answers = _at_once(
            [
                lambda token=token, server_id=server_id: world.attach(token, server_id, device_id)
                for token, server_id in wanted
            ]
        )
        assert Counter(answer.status_int for answer in answers) == {202: 1, 409: _CLIENTS - 1}
        winner = next(number for number, answer in enumerate(answers) if answer.status_int == 202)
        token, server_id = wanted[winner]
        row = queries.device(world.db, device_id)
        assert (row.instance_uuid, row.state) == (server_id, State.ATTACHING)
        assert row.project_id == world.nova.servers[server_id].project_id
        assert row.generation == before.generation + 1
        assert answers[winner].json["attachment"]["server_id"] == server_id
        for (loser, _), answer in zip(wanted, answers, strict=True):
            if answer.status_int == 409:
                assert "is in use" in _message(answer)
                assert (server_id in _message(answer)) == (loser == token)
        world.report(device_id, "attached")
        assert world.detach(token, server_id, device_id).status_int == 202
        world.report(device_id, "available")


def _clone(world: World, token: str, server: Any, number: int) -> tuple[str, str]:
    server_id = f"10000000-0000-0000-0000-{number:012}"
    world.nova.servers[server_id] = type(server)(server_id, server.project_id, server.host_id, server.locked)
    return token, server_id


def test_one_server_asking_twenty_times_gets_it_once(every_world: World) -> None:
    world = every_world
    world.sync(STICK1={})
    device_id = world.device_id("STICK1")
    answers = _at_once([lambda: world.attach("demo", SERVERS["DEMO"].id, device_id)] * _CLIENTS)
    assert Counter(answer.status_int for answer in answers) == {202: _CLIENTS}
    assert queries.device(world.db, device_id).generation == 1


def test_nobody_gets_more_than_the_quota(every_world: World) -> None:
    """Whichever devices and servers the requests are for."""
    world = every_world
    sticks: dict[str, Any] = {f"STICK{number}": {"kind": "dongle"} for number in (1, 2, 3, 4)}
    world.sync(**sticks)
    ids = [world.device_id(name) for name in sticks]
    world.keystone.quota = {"usb_devices": 2}
    servers = [_clone(world, "demo", SERVERS["DEMO"], number)[1] for number in range(_CLIENTS)]
    for _ in range(_ROUNDS):
        pairs = zip(servers, itertools.cycle(ids), strict=False)
        answers = _at_once(
            [
                lambda server_id=server_id, device_id=device_id: world.attach("demo", server_id, device_id)
                for server_id, device_id in pairs
            ]
        )
        counts = Counter(answer.status_int for answer in answers)
        assert counts[202] == 2
        assert set(counts) <= {202, 409, 413}
        for row in queries.devices(world.db, models.Device.instance_uuid.is_not(None)):
            assert world.detach("demo", row.instance_uuid or "", row.id).status_int == 202
            world.report(row.id, "available")


def test_a_kind_is_given_out_once_each(every_world: World) -> None:
    world = every_world
    sticks: dict[str, Any] = {f"STICK{number}": {"kind": "dongle"} for number in (1, 2, 3, 4)}
    world.sync(**sticks)
    servers = [
        _clone(world, *contender, number)
        for number, contender in enumerate([("demo", SERVERS["DEMO"]), ("other", SERVERS["OTHER"])] * 10)
    ]
    for _ in range(_ROUNDS):
        answers = _at_once([lambda it=it: world.attach_kind(it[0], it[1], "dongle") for it in servers])
        assert Counter(answer.status_int for answer in answers) == {202: 4, 409: _CLIENTS - 4}
        got = {
            answer.json["attachment"]["device_id"]: (token, server_id)
            for (token, server_id), answer in zip(servers, answers, strict=True)
            if answer.status_int == 202
        }
        rows = queries.devices(world.db)
        assert {row.id: row.instance_uuid for row in rows} == {key: it[1] for key, it in got.items()}
        for device_id, (token, server_id) in got.items():
            assert world.detach(token, server_id, device_id).status_int == 202
            world.report(device_id, "available")


def test_twenty_detaches_are_one(every_world: World) -> None:
    world = every_world
    world.sync(STICK1={})
    device_id = world.device_id("STICK1")
    world.attach("demo", SERVERS["DEMO"].id, device_id)
    answers = _at_once([lambda: world.detach("demo", SERVERS["DEMO"].id, device_id)] * _CLIENTS)
    assert Counter(answer.status_int for answer in answers) == {202: _CLIENTS}
    row = queries.device(world.db, device_id)
    assert (row.state, row.generation) == (State.DETACHING, 2)


def test_agents_speak_while_clients_ask(every_world: World) -> None:
    """Syncs, reports and claims at once: nobody fails, and no claim is lost."""
    world = every_world
    sticks: dict[str, Any] = {f"STICK{number}": {} for number in (1, 2, 3, 4)}
    world.sync(**sticks)
    ids = [world.device_id(name) for name in sticks]
    syncs = [lambda: world.sync(**sticks)] * 6
    reports = [lambda device_id=device_id: world.report(device_id, "attached") for device_id in ids]
    attaches = [
        lambda device_id=device_id: world.attach("demo", SERVERS["DEMO"].id, device_id) for device_id in ids
    ]
    results = _at_once([*syncs, *reports, *attaches])
    assert [answer.status_int for answer in results[-len(ids) :]] == [202] * len(ids)
    for device_id in ids:
        row = queries.device(world.db, device_id)
        assert (row.instance_uuid, row.generation) == (SERVERS["DEMO"].id, 1)


def test_two_agents_of_a_new_host(every_world: World) -> None:
    """The first sync of a host, repeated before it was answered, makes one row of each device."""
    world = every_world
    claims = _at_once([lambda: world.sync("compute3", STICK1={}, STICK2={})] * 6)
    assert len({claim["device_id"] for answer in claims for claim in answer}) == 2
