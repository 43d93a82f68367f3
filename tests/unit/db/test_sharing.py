# SPDX-License-Identifier: Apache-2.0
"""With whom a device is shared: as its rule says, unless an operator says something else."""

from __future__ import annotations

import dataclasses

import pytest
import sqlalchemy as sa

from compute_shim.db import history, models, queries, sharing
from compute_shim.db.api import Database
from compute_shim.db.events import Actor
from compute_shim.db.sharing import Sharing
from compute_shim.objects import ReasonCode
from tests.unit.db.test_states import HOST, STICK, empty_database

ACTOR = Actor("operator", "req-1", "admins")
NOBODY, ALL = Sharing(), Sharing(True)
OTHERS = ("a", "b", "z")


def with_(*projects: str) -> Sharing:
    return Sharing(False, projects)


class Stick:
    """A stick beside another one, which stays shared with some projects whatever becomes of the first."""

    def __init__(self) -> None:
        self.db: Database = empty_database()

    def rule(self, shared: bool | None, *projects: str) -> Sharing:
        stick = dataclasses.replace(STICK, shared=shared, projects=projects)
        other = dataclasses.replace(STICK, identity="other", serial="other", shared=False, projects=OTHERS)
        queries.sync_host(self.db, HOST, "QEMU", "1.3", [stick, other])
        return self.now

    def set(self, shared: bool | None) -> Sharing:
        queries.set_device(self.db, self.id, ACTOR, shared=shared)
        return self.now

    def add(self, project_id: str) -> Sharing:
        assert sharing.add_project(self.db, self.id, project_id, ACTOR) is not None
        return self.now

    def remove(self, project_id: str) -> Sharing:
        assert sharing.remove_project(self.db, self.id, project_id, ACTOR) is not None
        return self.now

    @property
    def id(self) -> str:
        [row] = queries.devices(self.db, models.Device.serial == STICK.serial)
        return row.id

    @property
    def now(self) -> Sharing:
        rows = {row.serial: row for row in queries.devices(self.db)}
        projects = sharing.projects(self.db, rows.values())
        assert projects[rows["other"].id] == list(OTHERS)
        row = rows[STICK.serial]
        return Sharing(bool(row.shared), tuple(projects.get(row.id, ())))

    def changes(self) -> list[str | None]:
        """What the history says of it, the latest last."""
        found = history.page(self.db, history.Filter(oldest_first=True))
        return [event.state_reason for event in found if event.cause_code == ReasonCode.SHARING_CHANGED]


@pytest.fixture
def stick() -> Stick:
    return Stick()


def test_what_the_rule_says_is_followed(stick: Stick) -> None:
    assert stick.rule(True) == ALL
    assert stick.rule(False, "b", "a", "b") == with_("a", "b")
    assert stick.rule(False, "c", "b") == with_("b", "c")
    assert stick.rule(True, "c") == Sharing(True, ("c",))
    assert stick.rule(False) == NOBODY
    assert stick.changes() == []


def test_an_agent_that_knows_no_sharing_changes_none(stick: Stick) -> None:
    assert stick.rule(None) == NOBODY
    assert stick.rule(True, "a") == Sharing(True, ("a",))
    assert stick.rule(None) == Sharing(True, ("a",))


@pytest.mark.parametrize("word", ["add", "remove", "set"])
def test_what_an_operator_says_stands_until_it_is_reset(stick: Stick, word: str) -> None:
    stick.rule(False, "a", "b")
    said = {
        "add": lambda: stick.add("c"),
        "remove": lambda: stick.remove("a"),
        "set": lambda: stick.set(True),
    }[word]()
    assert said == {"add": with_("a", "b", "c"), "remove": with_("b"), "set": Sharing(True, ("a", "b"))}[word]
    assert stick.rule(False, "d") == said
    assert stick.set(None) == with_("d")
    assert stick.rule(True) == ALL


def test_without_a_rule_a_reset_shares_with_nobody(stick: Stick) -> None:
    stick.rule(None)
    stick.add("a")
    assert stick.set(True) == Sharing(True, ("a",))
    assert stick.set(None) == NOBODY


def test_projects_that_have_it_by_name_keep_it(stick: Stick) -> None:
    stick.rule(True)
    assert stick.add("a") == Sharing(True, ("a",))
    assert stick.set(False) == with_("a")
    assert stick.set(True) == Sharing(True, ("a",))


def test_the_history_says_with_whom_it_is_shared(stick: Stick) -> None:
    """What changes nothing is not in it."""
    stick.rule(False)
    stick.remove("a")
    for project_id in ("b", "a", "a"):
        stick.add(project_id)
    stick.set(True)
    stick.set(True)
    stick.set(False)
    stick.remove("b")
    stick.set(None)
    stick.set(None)
    assert stick.changes() == [
        "shared with b",
        "shared with a, b",
        "shared with all projects",
        "shared with a, b",
        "shared with a",
        "not shared",
    ]
    event = history.page(stick.db, history.Filter(), limit=1)[0]
    assert (event.user_id, event.request_id, event.actor_project_id) == ("operator", "req-1", "admins")


def test_a_device_that_is_not_there_is_shared_with_nobody(stick: Stick) -> None:
    stick.rule(True)
    assert sharing.add_project(stick.db, "missing", "a", ACTOR) is None
    assert sharing.remove_project(stick.db, "missing", "a", ACTOR) is None
    assert stick.changes() == []


def test_of_a_device_that_is_forgotten_nothing_is_left(stick: Stick) -> None:
    """And nothing of another device is lost."""
    stick.rule(False, "a")
    other = dataclasses.replace(STICK, identity="other", serial="other", shared=False, projects=OTHERS)
    queries.sync_host(stick.db, HOST, "QEMU", "1.3", [other])
    assert queries.forget(stick.db, stick.id)
    [row] = queries.devices(stick.db)
    with stick.db.reader() as session:
        assert set(session.scalars(sa.select(models.DeviceProject.device_id))) == {row.id}
    assert sharing.projects(stick.db, [row]) == {row.id: list(OTHERS)}
