# SPDX-License-Identifier: Apache-2.0
"""One of several conductors leads, by the database's clock."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa

from compute_shim.db import models
from compute_shim.db.clock import InSeconds
from compute_shim.db.leases import Lease
from tests.functional.world import World
from tests.unit.clock import clock

_PATIENCE = 60
_CONDUCTORS = 8


def _lease(world: World, holder: str, seconds: int = 600) -> Lease:
    return Lease(world.db, "server-sync", holder, seconds)


def _expire(world: World) -> None:
    """The lease that is held ended a second ago, by the database's clock."""
    with world.db.writer() as session:
        session.execute(sa.update(models.Lease).values(expires_at=InSeconds(-1)))


def test_the_clock_counts_seconds(every_world: World) -> None:
    """Each statement its own, also where two differ in nothing else."""
    with every_world.db.reader() as session:
        for seconds in (0, 3600, -3600):
            now, then = session.execute(sa.select(InSeconds(0), InSeconds(seconds))).one()
            assert round((then - now).total_seconds()) == seconds


def test_one_holds_it_and_renews_it(every_world: World) -> None:
    one, two = _lease(every_world, "one"), _lease(every_world, "two")
    assert one.acquire()
    assert not two.acquire()
    assert one.acquire()
    assert not two.acquire()


def test_names_are_leased_one_by_one(every_world: World) -> None:
    assert _lease(every_world, "one").acquire()
    assert Lease(every_world.db, "history", "two", 600).acquire()


def test_one_that_is_given_back_leaves_the_others(every_world: World) -> None:
    both = [Lease(every_world.db, name, "one", 600) for name in ("server-sync", "history")]
    assert [it.acquire() for it in both] == [True, True]
    both[0].release()
    assert _lease(every_world, "two").acquire()
    assert not Lease(every_world.db, "history", "two", 600).acquire()


def test_who_gives_it_back_is_followed_at_once(every_world: World) -> None:
    one, two = _lease(every_world, "one"), _lease(every_world, "two")
    assert one.acquire()
    two.release()
    assert not two.acquire()
    one.release()
    assert two.acquire()
    assert not one.acquire()


def test_a_dead_leader_is_replaced_and_told_when_it_comes_back(every_world: World) -> None:
    one, two = _lease(every_world, "one"), _lease(every_world, "two")
    assert one.acquire()
    _expire(every_world)
    assert two.acquire()
    assert not one.acquire()


def test_a_lease_ends_by_itself(every_world: World) -> None:
    assert _lease(every_world, "one", seconds=1).acquire()
    two = _lease(every_world, "two")
    deadline = time.monotonic() + _PATIENCE
    while not two.acquire():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_clock_of_a_host_does_not_count(every_world: World) -> None:
    one, two = _lease(every_world, "one"), _lease(every_world, "two")
    with clock() as told:
        told.jump(-1e6)
        assert one.acquire()
        told.jump(2e6)
        assert not two.acquire()


def test_never_two_at_once(every_world: World) -> None:
    """Many want it, first with no row at all, then each time it ends."""
    barrier = threading.Barrier(_CONDUCTORS)
    wanted = [_lease(every_world, f"conductor{number}") for number in range(_CONDUCTORS)]

    def want(lease: Lease) -> bool:
        barrier.wait()
        return lease.acquire()

    with ThreadPoolExecutor(_CONDUCTORS) as pool:
        for _ in range(10):
            assert list(pool.map(want, wanted)).count(True) == 1
            _expire(every_world)


def test_a_storm_of_leaders_that_stop(every_world: World) -> None:
    """Whoever has it is alone with it until the moment of giving it back."""
    inside = threading.Semaphore(1)

    def conduct(number: int) -> None:
        lease = _lease(every_world, f"conductor{number}")
        deadline = time.monotonic() + _PATIENCE
        while not lease.acquire():
            assert time.monotonic() < deadline
        assert inside.acquire(blocking=False)
        assert lease.acquire()
        inside.release()
        lease.release()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(conduct, range(4)))
