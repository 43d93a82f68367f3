# SPDX-License-Identifier: Apache-2.0
"""Who is in line gets what is free, in order, and nobody else does."""

from __future__ import annotations

import dataclasses
import datetime

import pytest
import sqlalchemy as sa

from compute_shim.db import history, intent, models, queries, queue, sharing, usage
from compute_shim.db.api import Database
from compute_shim.db.clock import InSeconds
from compute_shim.db.events import Actor
from compute_shim.liveness import Window
from compute_shim.objects import ClaimStatus, ReasonCode, Server, State
from tests.unit.db.test_states import HOST, STICK, empty_database

KIND = "dongle"
UP = Window(datetime.datetime.min, datetime.datetime.max)
NOBODY_UP = Window(datetime.datetime.min, datetime.datetime.min)


def nowhere(server_id: str, host: str) -> bool:
    """What Nova would say, which is not asked about a device of the server's host."""
    raise AssertionError


class Line:
    """One host with dongles; the servers of project a are a1, a2 and so on."""

    def __init__(self, dongles: int = 1) -> None:
        self.db: Database = empty_database()
        self.caps = usage.Caps()
        self.servers = {f"{project}{number}": Server(True) for project in "abc" for number in range(1, 6)}
        sticks = [
            dataclasses.replace(STICK, identity=f"d{number}", serial=f"d{number}", kind=KIND, shared=True)
            for number in range(dongles)
        ]
        queries.sync_host(self.db, HOST, "QEMU", "1.3", sticks, servers=self.servers)
        self.ids = [row.id for row in queries.devices(self.db)]

    def join(self, server: str, device_id: str | None = None) -> str:
        kind = KIND if device_id is None else None
        return queue.join(self.db, server, server[0], Actor("u", "r", server[0]), device_id, kind).entry_id

    def claim(self, server: str, number: int = 0) -> bool:
        return intent.claim(self.db, self.ids[number], server, server[0])

    def free(self, number: int = 0) -> None:
        """The device is given back, and the agent says that it is out of the server."""
        row = self.row(number)
        assert intent.release(self.db, row.id, row.instance_uuid or "")
        row = self.row(number)
        queries.record_statuses(self.db, HOST, [ClaimStatus(row.id, row.generation, State.AVAILABLE)])

    def serve(self, number: int = 0) -> str | None:
        entry = queue.serve(self.db, self.ids[number], UP, lambda project_id: self.caps, nowhere)
        return entry.server_id if entry else None

    def row(self, number: int = 0) -> models.Device:
        row = queries.device(self.db, self.ids[number])
        assert row is not None
        return row


def places(line: Line) -> list[tuple[str, int]]:
    """Who is in line, and at which place."""
    return [(it.entry.server_id, it.place) for it in queue.waiting(line.db)]


@pytest.fixture
def line() -> Line:
    return Line()


def test_first_come_first_served(line: Line) -> None:
    assert line.claim("a1")
    for server in ("b1", "c1", "a2"):
        line.join(server)
    served = []
    for _ in range(3):
        line.free()
        served.append(line.serve())
        assert line.row().instance_uuid == served[-1]
    assert served == ["b1", "c1", "a2"]


def test_projects_take_turns(line: Line) -> None:
    for server in ("a1", "a2", "a3", "b1", "c1", "b2"):
        line.join(server)
    served = []
    for _ in range(6):
        served.append(line.serve())
        line.free()
    assert served == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_who_comes_again_and_again_overtakes_nobody_twice(line: Line) -> None:
    for server in ("a1", "a2", "a3"):
        line.join(server)
    served = []
    for number in range(1, 4):
        line.join(f"b{number}")
        for _ in range(2):
            served.append(line.serve())
            line.free()
    assert served == ["a1", "b1", "a2", "b2", "a3", "b3"]


def test_who_asks_again_stays_in_place(line: Line) -> None:
    first = line.join("a1")
    line.join("b1")
    assert line.join("a1") == first
    assert places(line) == [("a1", 1), ("b1", 2)]


def test_nobody_jumps_the_line(line: Line) -> None:
    line.join("b1")
    assert not line.claim("a1")
    assert line.row().instance_uuid is None
    assert line.serve() == "b1"


def test_who_is_alone_in_line_may_as_well_ask(line: Line) -> None:
    line.join("b1")
    line.join("b1", line.ids[0])
    line.join("b2")
    queue.leave(line.db, "b2", queue.waiting(line.db, server_id="b2")[0].entry.entry_id)
    assert line.claim("b1")
    assert places(line) == [("b1", 1)], "the kind was not what it asked for"
    line.free()
    assert intent.claim(line.db, line.ids[0], "b1", "b", kind=KIND)
    assert places(line) == []


def test_who_asks_in_vain_keeps_the_place(line: Line) -> None:
    assert line.claim("a1")
    line.join("b1")
    line.join("b1", line.ids[0])
    assert not line.claim("b1")
    assert not intent.claim(line.db, line.ids[0], "b1", "b", kind=KIND)
    assert places(line) == [("b1", 1), ("b1", 1)]


def test_who_takes_a_device_leaves_others_in_line(line: Line) -> None:
    """They are on another host, where it cannot be had."""
    queries.sync_host(line.db, HOST, "QEMU", "1.3", None, servers={"b1": Server(True)})
    queries.sync_host(line.db, "compute2", "QEMU", "1.3", [], servers={"a1": Server(True)})
    line.join("a1")
    line.join("a1", line.ids[0])
    line.join("b1")
    assert line.serve() == "b1"
    line.free()
    assert queue.idle(line.db, UP) == []
    assert intent.claim(line.db, line.ids[0], "b1", "b", kind=KIND)
    assert [server for server, _ in places(line)] == ["a1", "a1"]


def test_a_device_that_is_held_is_not_for_others_in_line(line: Line) -> None:
    with line.db.writer() as session:
        session.execute(sa.update(models.Device).values(handover="hold", last_project_id="a"))
    line.join("b1")
    assert queue.idle(line.db, UP) == []
    assert line.serve() is None
    assert line.claim("a1"), "its project does not wait for who cannot have it"


def test_each_line_has_its_own_rounds() -> None:
    """What a project waits for elsewhere neither helps nor hinders it."""
    line = Line(2)
    for server in ("a1", "a2"):
        line.join(server)
    for server in ("b1", "b2", "a3"):
        line.join(server, line.ids[1])
    assert places(line) == [("a1", 1), ("a2", 2), ("b1", 1), ("b2", 3), ("a3", 2)]
    assert line.serve() == "a1"
    line.free()
    line.join("c1")
    assert places(line)[0] == ("a2", 1)
    assert places(line)[-1] == ("c1", 2)


def test_pages_of_a_line(line: Line) -> None:
    entries = [line.join(server) for server in ("a1", "b1", "c1")]

    def page(marker: str | None, limit: int | None, server_id: str | None = None) -> list[str]:
        found = queue.waiting(line.db, marker=marker, limit=limit, server_id=server_id)
        return [it.entry.server_id for it in found]

    assert page(None, 2) == ["a1", "b1"]
    assert page(entries[1], 2) == ["c1"]
    assert page(entries[0], 1) == ["b1"]
    assert page(entries[2], None) == []
    assert page(entries[0], None, "c1") == ["c1"]
    assert [it.entry.server_id for it in queue.waiting(line.db, project_id="b")] == ["b1"]
    assert [it.entry.server_id for it in queue.waiting(line.db, entry_id=entries[2])] == ["c1"]


def test_one_device_and_its_kind_are_one_line(line: Line) -> None:
    line.join("a1", line.ids[0])
    line.join("b1")
    assert line.serve() == "a1"
    line.free()
    assert line.serve() == "b1"


def test_who_is_over_quota_keeps_the_place(line: Line) -> None:
    line.join("a1")
    line.join("b1")
    limits = {"a": usage.Caps({usage.DEVICES: 0}), "b": usage.Caps({usage.DEVICES: 1})}
    entry = queue.serve(line.db, line.ids[0], UP, lambda project_id: limits[project_id], nowhere)
    assert entry is not None
    assert entry.server_id == "b1"
    assert [server for server, _ in places(line)] == ["a1"]


def test_a_server_elsewhere_is_not_served(line: Line) -> None:
    queries.sync_host(line.db, HOST, "QEMU", "1.3", None, servers={"b1": Server(True)})
    line.join("a1")
    line.join("b1")
    assert line.serve() == "b1"
    line.free()
    assert line.serve() is None
    assert line.claim("b1"), "nobody who could have it is in line"


def test_a_device_that_is_not_shared_is_not_served(line: Line) -> None:
    line.join("a1")
    queries.set_device(line.db, line.ids[0], shared=False)
    assert line.serve() is None


def test_a_device_that_is_shared_by_name_is_served_to_that_project(line: Line) -> None:
    queries.set_device(line.db, line.ids[0], shared=False)
    sharing.add_project(line.db, line.ids[0], "b")
    line.join("a1")
    assert queue.idle(line.db, UP) == []
    line.join("b1")
    assert queue.idle(line.db, UP) == line.ids
    assert line.serve() == "b1"


def test_what_is_taken_is_not_served(line: Line) -> None:
    assert line.claim("a1")
    line.join("b1")
    assert line.serve() is None
    assert [server for server, _ in places(line)] == ["b1"]


def test_who_leaves_meanwhile_is_passed_over(line: Line) -> None:
    entry = line.join("a1")
    line.join("b1")

    def caps(project_id: str) -> usage.Caps:
        queue.leave(line.db, "a1", entry)
        return line.caps

    found = queue.serve(line.db, line.ids[0], UP, caps, nowhere)
    assert found is not None
    assert (found.server_id, line.row().instance_uuid) == ("b1", "b1")


def test_what_is_taken_meanwhile_is_served_to_nobody(line: Line) -> None:
    """And everybody keeps the place."""
    line.join("a1")
    line.join("b1")

    def caps(project_id: str) -> usage.Caps:
        queries.set_device(line.db, line.ids[0], enabled=False)
        return line.caps

    assert queue.serve(line.db, line.ids[0], UP, caps, nowhere) is None
    assert line.row().instance_uuid is None
    assert places(line) == [("a1", 1), ("b1", 2)]


def test_what_a_place_was_asked_for_with_comes_with_the_device(line: Line) -> None:
    """Who asks again may ask for another lease."""
    for seconds in (None, 60, 3600):
        queue.join(line.db, "a1", "a", Actor("u", "r", "a"), kind=KIND, lease=seconds)
    before = queries.devices(line.db, models.Device.lease_until > InSeconds(3500))
    assert (line.serve(), before) == ("a1", [])
    [row] = queries.devices(line.db, models.Device.lease_until > InSeconds(3500))
    assert (row.claimed_kind, row.user_id, row.project_id) == (KIND, "u", "a")
    event = history.page(line.db, history.Filter(row.id))[0]
    assert (event.user_id, event.request_id, event.actor_project_id) == ("u", "r", "a")


def test_idle_devices_with_a_line() -> None:
    line = Line(2)
    assert queue.idle(line.db, UP) == []
    line.join("a1")
    assert set(queue.idle(line.db, UP)) == set(line.ids)
    assert queue.idle(line.db, NOBODY_UP) == []
    assert line.serve() == "a1"
    assert queue.idle(line.db, UP) == []
    line.join("b1")
    assert queue.idle(line.db, UP) == line.ids[1:]


def test_nobody_is_served_by_a_host_that_is_down(line: Line) -> None:
    line.join("a1")
    assert queue.serve(line.db, line.ids[0], NOBODY_UP, lambda project_id: line.caps, nowhere) is None
    assert places(line) == [("a1", 1)]


def test_leaving(line: Line) -> None:
    entry = line.join("a1")
    assert not queue.leave(line.db, "b1", entry)
    assert queue.leave(line.db, "a1", entry)
    assert not queue.leave(line.db, "a1", entry)
    line.join("a1")
    assert queue.forget_server(line.db, "a1") == 1
    assert places(line) == []


def test_the_history_says_that_it_was_served(line: Line) -> None:
    line.join("a1")
    line.serve()
    event = history.page(line.db, history.Filter(line.ids[0]))[0]
    assert (event.cause_code, event.user_id) == (ReasonCode.QUEUE_SERVED, "u")


def test_a_line_is_not_endless(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "LONGEST", 1)
    line.join("a1")
    line.join("b1")
    with pytest.raises(queue.LineFull):
        line.join("a2")


def test_those_who_wait_for_something_else_are_not_ahead() -> None:
    line = Line(2)
    mine, theirs = line.ids
    for device_id, project_id in ((mine, "a"), (theirs, "b")):
        queries.set_device(line.db, device_id, shared=False)
        sharing.add_project(line.db, device_id, project_id, None)
    line.join("b1")
    line.join("b2")
    line.join("a1")
    assert places(line) == [("b1", 1), ("b2", 2), ("a1", 1)]
    sharing.add_project(line.db, mine, "b", None)
    # The second of b is of the next round, after the first of a.
    assert places(line) == [("b1", 1), ("b2", 3), ("a1", 2)]


def test_servers_without_a_domain(line: Line) -> None:
    line.join("a1")
    line.join("shelved")
    line.join("shelved", line.ids[0])
    assert queue.servers_without_domain(line.db) == ["shelved"]


def test_who_is_awaited() -> None:
    line = Line(2)
    line.join("a1", line.ids[0])
    assert not queue.is_awaited(line.db, line.ids[1], besides="b1")
    assert queue.is_awaited(line.db, line.ids[0], besides="b1")
    assert not queue.is_awaited(line.db, line.ids[0], besides="a1")


def test_nobody_is_in_line_for_a_device_that_is_forgotten(line: Line) -> None:
    line.join("a1", line.ids[0])
    line.join("b1")
    queries.sync_host(line.db, HOST, "QEMU", "1.3", [])
    assert queries.forget(line.db, line.ids[0])
    assert places(line) == [("b1", 1)]


def lines_history(line: Line) -> list[tuple[str | None, str | None, str | None, str | None]]:
    """What the history says of places in line, the latest last: cause, server, project and who asked."""
    events = history.page(line.db, history.Filter(oldest_first=True))
    found = [event for event in events if (event.cause_code or "").startswith("queue_")]
    return [(it.cause_code, it.instance_uuid, it.project_id, it.user_id) for it in found]


def test_the_history_tells_of_places_in_line() -> None:
    line = Line()
    line.claim("c1")
    line.join("a1", line.ids[0])
    entry = line.join("a2")
    line.join("b1")
    assert queue.leave(line.db, "a2", entry, Actor("v", "r", "a"))
    assert queue.forget_server(line.db, "b1") == 1
    line.free()
    assert line.serve() == "a1"
    assert lines_history(line) == [
        (ReasonCode.QUEUE_JOINED, "a1", "a", "u"),
        (ReasonCode.QUEUE_JOINED, "a2", "a", "u"),
        (ReasonCode.QUEUE_JOINED, "b1", "b", "u"),
        (ReasonCode.QUEUE_LEFT, "a2", "a", "v"),
        (ReasonCode.QUEUE_LEFT, "b1", "b", None),
        (ReasonCode.QUEUE_SERVED, "a1", "a", "u"),
    ]


def test_a_place_that_goes_with_the_device_is_in_the_history() -> None:
    line = Line()
    line.join("a1", line.ids[0])
    with line.db.writer() as session:
        sharing.forget(session, [line.row()])
    assert lines_history(line)[-1] == (ReasonCode.QUEUE_LEFT, "a1", "a", None)


def test_joining_twice_is_one_event() -> None:
    line = Line()
    assert line.join("a1") == line.join("a1")
    assert len(lines_history(line)) == 1
    [event] = history.page(line.db, history.Filter(server_id="a1"))
    assert (event.device_id, event.device_name, event.state) == ("", KIND, "")
