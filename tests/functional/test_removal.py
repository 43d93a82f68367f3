# SPDX-License-Identifier: Apache-2.0
"""The end of hosts and of claims there, on every kind of database."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from compute_shim.agent import planner
from compute_shim.agent.identity import identify
from compute_shim.agent.snapshot import Snapshot
from compute_shim.db import history, models, queries
from compute_shim.hypervisor.base import ALIAS_PREFIX, Domain, Hostdev
from compute_shim.objects import Claim, ReasonCode
from tests.functional.world import SERVERS, STICKS, World

SERVER = SERVERS["DEMO"].id


@pytest.fixture
def dead(every_world: World) -> World:
    """A host that died with two devices in a server, and a third one free."""
    world = every_world
    world.sync(STICK1={}, STICK2={}, STICK3={})
    for stick in ("STICK1", "STICK2"):
        world.attach("demo", SERVER, world.device_id(stick))
        world.report(world.device_id(stick), "attached")
    world.silence("compute1")
    return world


def _still_attached(device_ids: list[str]) -> Domain:
    """The server's domain goes on with what it had."""
    return Domain(
        uuid=SERVER,
        name="instance-1",
        running=True,
        live=tuple(_hostdev(device_id, number) for number, device_id in enumerate(device_ids, start=1)),
    )


def _hostdev(device_id: str, number: int) -> Hostdev:
    stick = STICKS[f"STICK{number}"]
    return Hostdev(f"{ALIAS_PREFIX}{device_id}", bus=stick.bus, device=stick.device)


def _plan(answer: list[dict[str, Any]], domain: Domain) -> list[Any]:
    """What the agent does that comes back."""
    claims = [Claim(**claim) for claim in answer]
    devices = identify([STICKS[name] for name in ("STICK1", "STICK2", "STICK3")], claims)
    return planner.plan(Snapshot(claims, devices, [domain]))


def test_an_agent_that_comes_back_takes_out_what_was_released(dead: World) -> None:
    ids = [dead.device_id("STICK1"), dead.device_id("STICK2")]
    assert dead.request("admin", "POST", f"/v1/devices/{ids[0]}/release").status_int == 200
    answer = dead.sync(STICK1={}, STICK2={}, STICK3={})
    actions = _plan(answer, _still_attached(ids))
    assert actions == [planner.Detach(SERVER, ids[0], live=True, config=False)]


def test_an_agent_that_comes_back_to_a_deleted_host_takes_out_everything(dead: World) -> None:
    ids = [dead.device_id("STICK1"), dead.device_id("STICK2")]
    assert dead.request("admin", "DELETE", "/v1/hosts/compute1").status_int == 204
    answer = dead.sync(STICK1={}, STICK2={}, STICK3={})
    assert not {claim["device_id"] for claim in answer} & set(ids)
    actions = _plan(answer, _still_attached(ids))
    assert actions == [planner.Detach(SERVER, name, live=True, config=False) for name in sorted(ids)]


def test_a_deleted_host_leaves_its_history_only(dead: World) -> None:
    ids = [dead.device_id(name) for name in ("STICK1", "STICK3")]
    dead.request("admin", "DELETE", "/v1/hosts/compute1")
    for model in (models.Host, models.Device, models.Instance):
        with dead.db.reader() as session:
            assert session.scalar(sa.select(sa.func.count()).select_from(model)) == 0
    claimed, free = (history.page(dead.db, history.Filter(device_id))[0] for device_id in ids)
    assert claimed.cause_code == free.cause_code == ReasonCode.HOST_DELETED
    assert (claimed.instance_uuid, claimed.project_id) == (SERVER, SERVERS["DEMO"].project_id)
    assert (claimed.host, claimed.user_id, free.instance_uuid) == ("compute1", "user-of-admin", None)


def test_a_host_is_deleted_or_comes_back(dead: World) -> None:
    """Never half: what the sync was answered is what is in the database after both."""
    barrier = threading.Barrier(2)

    def together(act: Any) -> Any:
        barrier.wait()
        return act()

    with ThreadPoolExecutor(2) as pool:
        for _ in range(10):
            answers = list(
                pool.map(
                    together,
                    [
                        lambda: dead.sync(STICK1={}, STICK2={}),
                        lambda: dead.request("admin", "DELETE", "/v1/hosts/compute1"),
                    ],
                )
            )
            told = {(claim["device_id"], claim["server_id"]) for claim in answers[0]}
            rows = {(row.id, row.instance_uuid) for row in queries.devices(dead.db)}
            assert told == rows
            assert answers[1].status_int in (204, 409)
            dead.silence("compute1")
