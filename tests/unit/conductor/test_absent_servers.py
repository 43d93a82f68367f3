# SPDX-License-Identifier: Apache-2.0
"""Claims of servers that are deleted, moved or shelved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from compute_shim import exception, nova
from compute_shim.conductor.absent_servers import AbsentServers
from compute_shim.db import queries
from compute_shim.db.api import Database
from compute_shim.objects import Device, Outcome, ReasonCode, State
from tests.unit.db.test_states import HOST, PROJECTS, SERVERS, STICK, empty_database

ALIVE, GONE = SERVERS


class Nova:
    """Knows one server, and remembers what it was asked."""

    def __init__(
        self, sees_all: bool = True, away: bool = False, host: str = HOST, busy: bool = False
    ) -> None:
        self.sees_all = sees_all
        self.away = away
        self.host_id = nova.host_id("demo", host) if host else ""
        self.busy = busy
        self.asked: list[str] = []

    def server(self, auth: object, server_id: str) -> nova.Server:
        self.asked.append(server_id)
        if self.away:
            raise exception.Unavailable("Nova is away.")
        if server_id == GONE:
            raise nova.no_server(server_id)
        return nova.Server(server_id, "demo", self.host_id, locked=False, busy=self.busy)

    def sees_all_projects(self, auth: object) -> bool:
        return self.sees_all


class Nudger:
    """Remembers of which devices agents were to be told."""

    def __init__(self) -> None:
        self.nudged: list[str] = []

    def nudge(self, device_id: str, context: Mapping[str, Any]) -> None:
        self.nudged.append(device_id)


@pytest.fixture
def db() -> Database:
    """Each server waits for a device."""
    db = empty_database()
    sticks = [Device(**{**vars(STICK), "identity": server}) for server in SERVERS]
    for claim in queries.sync_host(db, HOST, "QEMU", "1.0", sticks):
        queries.claim(db, claim.device_id, claim.identity, PROJECTS[claim.identity])
        queries.judge_claims(
            db, HOST, [Outcome(claim.device_id, 1, State.WAITING, reason_code=ReasonCode.SERVER_OFF)]
        )
    return db


def states(db: Database) -> dict[str | None, str]:
    return {row.instance_uuid: row.state for row in queries.devices(db)}


def look(
    db: Database, nova_: Nova, nudger: Nudger, interval: int = -1, live_hosts: Iterable[str] = (HOST,)
) -> None:
    """Look for absent servers; with a negative interval nothing is too young."""
    AbsentServers(db, nova_, None, nudger, lambda: set(live_hosts), interval)()


def say(db: Database, state: State, code: ReasonCode | None = None) -> None:
    """What the agent says of every claim."""
    queries.judge_claims(
        db, HOST, [Outcome(row.id, 1, state, reason_code=code) for row in queries.devices(db)]
    )


def claim_of(db: Database, server: str) -> tuple[str, str | None]:
    [row] = queries.devices_of_server(db, server)
    return row.state, row.reason_code


def test_the_device_of_a_deleted_server_is_given_back(db: Database) -> None:
    nudger = Nudger()
    look(db, Nova(), nudger)
    assert states(db) == {ALIVE: State.WAITING, GONE: State.DETACHING}
    [device_id] = nudger.nudged
    row = queries.device(db, device_id)
    assert row is not None
    assert (row.identity, row.generation) == (GONE, 2)


def test_it_is_given_back_once(db: Database) -> None:
    nudger = Nudger()
    for _ in range(2):
        look(db, Nova(), nudger)
    assert len(nudger.nudged) == 1


def test_what_changed_a_moment_ago_is_left_alone(db: Database) -> None:
    nova_ = Nova()
    look(db, nova_, Nudger(), interval=60)
    assert nova_.asked == []


def test_what_is_attached_is_left_alone(db: Database) -> None:
    say(db, State.ATTACHED)
    nova_ = Nova()
    look(db, nova_, Nudger())
    assert nova_.asked == []


@pytest.mark.parametrize(
    ("told", "host", "reason"),
    [
        # While a resize waits to be confirmed, the first host has the server as well, switched off.
        (ReasonCode.SERVER_OFF, "compute2", ReasonCode.SERVER_ON_OTHER_HOST),
        (ReasonCode.SERVER_OFF, HOST, ReasonCode.SERVER_OFF),
        (ReasonCode.SERVER_ON_OTHER_HOST, "", ReasonCode.SERVER_SHELVED),
        (ReasonCode.SERVER_SHELVED, "compute2", ReasonCode.SERVER_ON_OTHER_HOST),
        # Moved away while it was off, and back: its agent has seen it off all the time.
        (ReasonCode.SERVER_ON_OTHER_HOST, HOST, ReasonCode.SERVER_OFF),
        (ReasonCode.UNPLUGGED, "compute2", ReasonCode.UNPLUGGED),
    ],
)
def test_nova_knows_better_where_a_server_is(
    db: Database, told: ReasonCode, host: str, reason: ReasonCode
) -> None:
    say(db, State.WAITING, told)
    look(db, Nova(host=host), Nudger())
    assert claim_of(db, ALIVE) == (State.WAITING, reason)


def test_nova_is_not_believed_while_it_moves_the_server(db: Database) -> None:
    say(db, State.WAITING, ReasonCode.SERVER_ON_OTHER_HOST)
    look(db, Nova(host=HOST, busy=True), Nudger())
    assert claim_of(db, ALIVE) == (State.WAITING, ReasonCode.SERVER_ON_OTHER_HOST)


@pytest.mark.parametrize(
    ("host", "claim"),
    [("compute2", (State.WAITING, ReasonCode.SERVER_ON_OTHER_HOST)), (HOST, (State.ATTACHED, None))],
)
def test_nobody_but_nova_knows_of_a_server_whose_host_died(
    db: Database, host: str, claim: tuple[State, str | None]
) -> None:
    """An evacuated server is attached to nothing on the host that it comes from."""
    say(db, State.ATTACHED)
    look(db, Nova(host=host), Nudger(), live_hosts=())
    assert claim_of(db, ALIVE) == claim


def test_a_nova_that_is_away_deletes_nothing(db: Database) -> None:
    look(db, Nova(away=True), Nudger())
    assert set(states(db).values()) == {State.WAITING}


def test_a_user_who_sees_one_project_only_deletes_nothing(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    look(db, Nova(sees_all=False), Nudger())
    assert set(states(db).values()) == {State.WAITING}
    assert "all projects" in caplog.text
