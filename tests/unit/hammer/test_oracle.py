# SPDX-License-Identifier: Apache-2.0
"""The oracle of the hammer sees what is wrong."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.hammer.oracle import Entry, Moment, Stick, Watcher, lost

FREE = Stick("s1", "available", None, frozenset("ab"))
FIRST, SECOND = Entry("e1", (0, 1), "a1", "a"), Entry("e2", (0, 2), "b1", "b")


def moment(at: float = 0.0, **changes: Any) -> Moment:
    values: dict[str, Any] = {
        "at": at,
        "sticks": {"s1": FREE},
        "line": [FIRST, SECOND],
        "domains": frozenset({"a1", "b1"}),
        "last_event": 0,
        "events": [],
    }
    return Moment(**(values | changes))


def taken(server: str, stick: str = "s1") -> Stick:
    return dataclasses.replace(FREE, id=stick, state="attaching", server=server)


def got(server: str, cause: str, line: list[Entry]) -> Moment:
    """A server gets the stick a moment later."""
    return moment(1.0, sticks={"s1": taken(server)}, line=line, events=[(1, cause, "s1", server)])


@pytest.mark.parametrize(
    ("after", "wrong"),
    [
        (got("a1", "queue_served", [SECOND]), False),
        (got("b1", "queue_served", [FIRST]), True),
        (got("c1", "requested", [FIRST, SECOND]), True),
        (got("c1", "requested", []), False),
    ],
    ids=["the first", "the second", "nobody in line", "nobody waits any more"],
)
def test_who_gets_it(after: Moment, wrong: bool) -> None:
    watcher = Watcher()
    assert list(watcher.see(moment())) == []
    assert bool(list(watcher.see(after))) == wrong


@pytest.mark.parametrize(
    "changes",
    [
        {"domains": frozenset({"b1"})},
        {"sticks": {"s1": dataclasses.replace(FREE, shared_with=frozenset("b"))}},
        {"sticks": {"s1": FREE, "s2": taken("a1", "s2"), "s3": taken("a1", "s3")}},
    ],
    ids=["has no domain", "may not have it", "has two"],
)
def test_who_could_not_have_it_is_passed_over(changes: dict[str, Any]) -> None:
    watcher = Watcher()
    list(watcher.see(moment(**changes)))
    assert list(watcher.see(got("b1", "queue_served", [FIRST]))) == []


def test_a_stick_that_is_idle_while_somebody_waits() -> None:
    watcher = Watcher()
    assert list(watcher.see(moment(0.0))) == []
    assert list(watcher.see(moment(15.0))) == []
    assert "idle" in next(watcher.see(moment(25.0)))


def test_a_stick_that_nobody_can_have_may_be_idle() -> None:
    watcher = Watcher()
    for at in (0.0, 25.0, 50.0):
        assert list(watcher.see(moment(at, domains=frozenset()))) == []


def test_too_many() -> None:
    sticks = {name: taken("a1", name) for name in ("s1", "s2", "s3")}
    assert list(Watcher().see(moment(sticks=sticks))) == ["server a1 has 3 devices"]


def test_places_that_are_lost() -> None:
    joined = {"e1": ("a1", 0.0), "e2": ("b1", 0.0)}
    assert list(lost(joined, [], [FIRST], [])) == ["the place e2 of server b1 is lost"]
    assert list(lost(joined, ["e2"], [FIRST], [])) == []
    assert list(lost(joined, [], [FIRST], [("b1", 7)])) == []
    # One that was served once had one place.
    twice = {**joined, "e3": ("b1", 1.0)}
    assert len(list(lost(twice, [], [FIRST], [("b1", 7)]))) == 1
