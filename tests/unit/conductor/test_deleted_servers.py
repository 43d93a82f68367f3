# SPDX-License-Identifier: Apache-2.0
"""Claims of servers that are no more."""

from __future__ import annotations

import pytest

from compute_shim import exception, nova
from compute_shim.conductor.deleted_servers import DeletedServers
from compute_shim.db import queries
from compute_shim.db.api import Database
from compute_shim.objects import Claim, Device, Outcome, State
from tests.unit.db.test_states import HOST, PROJECTS, SERVERS, STICK, empty_database

ALIVE, GONE = SERVERS


class Nova:
    """Knows one server, and remembers what it was asked."""

    def __init__(self, sees_all: bool = True, away: bool = False) -> None:
        self.sees_all = sees_all
        self.away = away
        self.asked: list[str] = []

    def server(self, auth: object, server_id: str) -> nova.Server:
        self.asked.append(server_id)
        if self.away:
            raise exception.Unavailable("Nova is away.")
        if server_id == GONE:
            raise nova.no_server(server_id)
        return nova.Server(server_id, "demo", "", locked=False)

    def sees_all_projects(self, auth: object) -> bool:
        return self.sees_all


class Agents:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Claim]] = []

    def claim_changed(self, host: str, claim: Claim) -> None:
        self.told.append((host, claim))


@pytest.fixture
def db() -> Database:
    """Each server waits for a device."""
    db = empty_database()
    sticks = [Device(**{**vars(STICK), "identity": server}) for server in SERVERS]
    for claim in queries.sync_host(db, HOST, "QEMU", "1.0", sticks):
        queries.claim(db, claim.device_id, claim.identity, PROJECTS[claim.identity])
        queries.judge_claims(db, HOST, [Outcome(claim.device_id, 1, State.WAITING, "the server is off")])
    return db


def states(db: Database) -> dict[str | None, str]:
    return {row.instance_uuid: row.state for row in queries.devices(db)}


def look(db: Database, nova_: Nova, agents: Agents, interval: int = -1) -> None:
    """Look for deleted servers; with a negative interval nothing is too young."""
    DeletedServers(db, nova_, None, agents, interval)()


def test_the_device_of_a_deleted_server_is_given_back(db: Database) -> None:
    agents = Agents()
    look(db, Nova(), agents)
    assert states(db) == {ALIVE: State.WAITING, GONE: State.DETACHING}
    [(host, claim)] = agents.told
    assert (host, claim.identity, claim.server_id, claim.generation) == (HOST, GONE, None, 2)


def test_it_is_given_back_once(db: Database) -> None:
    agents = Agents()
    for _ in range(2):
        look(db, Nova(), agents)
    assert len(agents.told) == 1


def test_what_changed_a_moment_ago_is_left_alone(db: Database) -> None:
    nova_ = Nova()
    look(db, nova_, Agents(), interval=60)
    assert nova_.asked == []


def test_what_is_attached_is_left_alone(db: Database) -> None:
    for row in queries.devices(db):
        queries.judge_claims(db, HOST, [Outcome(row.id, 1, State.ATTACHED)])
    nova_ = Nova()
    look(db, nova_, Agents())
    assert nova_.asked == []


def test_a_nova_that_is_away_deletes_nothing(db: Database) -> None:
    look(db, Nova(away=True), Agents())
    assert set(states(db).values()) == {State.WAITING}


def test_a_user_who_sees_one_project_only_deletes_nothing(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    look(db, Nova(sees_all=False), Agents())
    assert set(states(db).values()) == {State.WAITING}
    assert "all projects" in caplog.text
