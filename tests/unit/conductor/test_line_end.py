# SPDX-License-Identifier: Apache-2.0
"""A deleted server loses its places in line, and no other does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from compute_shim.conductor.line_end import LineEnd
from compute_shim.db import models, queries, queue
from compute_shim.db.events import Actor
from compute_shim.db.leases import Lease
from compute_shim.objects import Server
from tests.unit.db.test_states import HOST, STICK, empty_database

INTERVAL = 60.0


class Lines:
    """Servers in line: ``here`` has a domain, ``gone`` and ``shelved`` have none."""

    def __init__(self) -> None:
        self.db = empty_database()
        queries.sync_host(self.db, HOST, "QEMU", "1.3", [STICK], servers={"here": Server(True)})
        for server in ("here", "gone", "shelved"):
            queue.join(self.db, server, "p", Actor("u", "r", "p"), kind="dongle")
        self.now = 0.0
        self.asked: list[str] = []
        self.obstacle: str | None = None
        self.gone = {"gone"}
        self.meanwhile: Callable[[], None] = lambda: None
        self.one, self.other = self.conductor("one"), self.conductor("other")

    def conductor(self, name: str) -> LineEnd:
        turn = Lease(self.db, "lines", name, 600)
        return LineEnd(self.db, self.is_gone, turn, lambda: self.obstacle, INTERVAL, lambda: self.now)

    def is_gone(self, server_id: str) -> bool:
        self.asked.append(server_id)
        self.meanwhile()
        return server_id in self.gone

    def domain(self, *servers: str) -> None:
        """The agent tells which servers are on its host."""
        there = {server: Server(True) for server in servers}
        queries.sync_host(self.db, HOST, "QEMU", "1.3", [STICK], servers=there)

    def expire(self) -> None:
        """The turn of whoever has it ends."""
        with self.db.writer() as session:
            session.execute(sa.delete(models.Lease))

    def servers(self) -> set[str]:
        return {it.entry.server_id for it in queue.waiting(self.db)}


@pytest.fixture
def lines() -> Lines:
    return Lines()


def test_who_is_deleted_in_two_passes_is_in_line_no_more(lines: Lines) -> None:
    lines.one()
    assert lines.servers() == {"here", "gone", "shelved"}
    lines.now += INTERVAL
    lines.one()
    assert lines.servers() == {"here", "shelved"}
    assert "here" not in lines.asked


def test_who_was_gone_for_a_moment_stays(lines: Lines) -> None:
    lines.one()
    lines.now += INTERVAL
    lines.gone.clear()
    lines.one()
    lines.now += INTERVAL
    lines.gone.add("gone")
    lines.one()
    assert "gone" in lines.servers()


def test_who_had_a_domain_in_between_begins_anew(lines: Lines) -> None:
    lines.one()
    lines.domain("here", "gone")
    lines.now += INTERVAL
    lines.one()
    lines.domain("here")
    lines.now += INTERVAL
    lines.one()
    assert "gone" in lines.servers()


def test_a_conductor_that_lost_its_turn_begins_anew(lines: Lines) -> None:
    lines.one()
    lines.expire()
    lines.other()
    lines.one()
    lines.expire()
    lines.now += INTERVAL
    lines.one()
    assert "gone" in lines.servers()


def test_who_loses_its_turn_in_a_pass_asks_no_more(lines: Lines) -> None:
    def lose() -> None:
        lines.meanwhile = lambda: None
        lines.expire()
        lines.other()
        lines.asked.clear()

    lines.meanwhile = lose
    lines.one()
    assert lines.asked == []


def test_the_turn_is_renewed_in_a_long_pass(lines: Lines) -> None:
    renewed: list[bool] = []

    def expire() -> None:
        with lines.db.writer() as session:
            renewed.append(session.scalar(sa.select(models.Lease.holder)) == "one")
            session.execute(sa.delete(models.Lease))

    lines.meanwhile = expire
    lines.one()
    assert renewed == [True, True]


def test_nothing_is_given_up_while_there_is_an_obstacle(lines: Lines) -> None:
    lines.obstacle = "the region is wrong"
    for _ in range(3):
        lines.one()
        lines.now += INTERVAL
    assert lines.servers() == {"here", "gone", "shelved"}
    assert lines.asked == []


def test_one_conductor_asks(lines: Lines) -> None:
    lines.one()
    asked = len(lines.asked)
    lines.other()
    assert len(lines.asked) == asked


def test_of_a_server_that_stays_shelved_nova_is_asked_less_and_less(lines: Lines) -> None:
    for _ in range(20):
        lines.one()
        lines.now += INTERVAL
    assert lines.asked.count("shelved") < 8


def test_who_had_a_domain_in_between_is_asked_for_at_once(lines: Lines) -> None:
    for _ in range(8):
        lines.one()
        lines.now += INTERVAL
    for servers in (["here", "shelved"], ["here"]):
        lines.domain(*servers)
        lines.asked.clear()
        lines.one()
    assert lines.asked == ["shelved"]
