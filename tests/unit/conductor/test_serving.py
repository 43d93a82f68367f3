# SPDX-License-Identifier: Apache-2.0
"""Conductors serve those in line, and nobody is served wrongly because Keystone does not answer."""

from __future__ import annotations

import dataclasses
import datetime
import threading
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from oslo_utils import timeutils

from compute_shim import exception
from compute_shim.conductor import metrics
from compute_shim.conductor import serving as serving_module
from compute_shim.conductor.manager import Manager
from compute_shim.conductor.serving import Serving
from compute_shim.db import intent, models, queries, queue, usage
from compute_shim.db.events import Actor
from compute_shim.liveness import Window
from compute_shim.objects import ReasonCode, Server, State
from compute_shim.rpc import CONDUCTOR_VERSION
from tests.unit.agent.test_agent import until
from tests.unit.clock import clock
from tests.unit.conductor.cloud import Nudger
from tests.unit.db.test_states import HOST, STICK, empty_database

KIND = "dongle"


def everything_up() -> Window:
    return Window(datetime.datetime.min, datetime.datetime.max)


class Line:
    """A host with one dongle, which server a has; b and c are in line for it."""

    def __init__(self) -> None:
        self.db = empty_database()
        self.stick = dataclasses.replace(STICK, kind=KIND, shared=True)
        servers = dict.fromkeys("abc", Server(True))
        queries.sync_host(self.db, HOST, "QEMU", CONDUCTOR_VERSION, [self.stick], servers=servers)
        [row] = queries.devices(self.db)
        self.id = row.id
        assert intent.claim(self.db, self.id, "a", "a")
        for server in "bc":
            queue.join(self.db, server, server, Actor(server, f"req-{server}", server), kind=KIND)
        self.nudger = Nudger()
        self.limits: dict[str, dict[str, int]] = {}
        self.asked: list[str] = []
        self.keystone_up = True
        self.serving = Serving(self.db, self.nudger, self.limits_of, None, everything_up, lambda *_: True)

    def limits_of(self, project_id: str) -> dict[str, int]:
        if not self.keystone_up:
            raise exception.Unavailable("away", ReasonCode.IDENTITY_UNAVAILABLE)
        self.asked.append(project_id)
        return self.limits.get(project_id, {})

    def free(self, manager: Manager) -> None:
        """Its server gives the dongle back, and the agent says that it is out."""
        assert intent.release(self.db, self.id, self.row().instance_uuid or "")
        outcome = {
            "device_id": self.id,
            "generation": self.row().generation,
            "state": State.AVAILABLE,
            "reason": None,
        }
        manager.report({}, HOST, [outcome])

    def row(self) -> models.Device:
        return queries.devices(self.db)[0]


@pytest.fixture
def line() -> Line:
    return Line()


def test_the_next_one_has_it_and_its_agent_is_told(line: Line) -> None:
    line.serving.serve()
    assert line.row().instance_uuid == "a"
    line.free(Manager(line.db))
    line.serving.serve()
    assert (line.row().instance_uuid, line.row().claimed_kind) == ("b", KIND)
    assert line.nudger.nudged == [(line.id, {"request_id": "req-b"})]


def test_without_keystone_nobody_is_served(line: Line) -> None:
    line.free(Manager(line.db))
    line.keystone_up = False
    with pytest.raises(exception.Unavailable):
        line.serving.serve()
    assert line.row().instance_uuid is None
    assert [it.entry.server_id for it in queue.waiting(line.db)] == ["b", "c"]
    line.keystone_up = True
    line.serving.serve()
    assert line.row().instance_uuid == "b"


def test_who_is_over_quota_is_passed_over(line: Line) -> None:
    line.limits["b"] = {usage.DEVICES: 0}
    line.free(Manager(line.db))
    line.serving.serve()
    assert line.row().instance_uuid == "c"
    assert [it.entry.server_id for it in queue.waiting(line.db)] == ["b"]


def test_limits_are_asked_for_again_after_a_while(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(serving_module, "time", SimpleNamespace(monotonic=lambda: now))
    line.limits |= {"b": {usage.DEVICES: 0}, "c": {usage.DEVICES: 0}}
    line.free(Manager(line.db))
    for _ in range(3):
        line.serving.serve()
    assert line.asked == ["b", "c"]
    line.limits.clear()
    now += serving_module._FRESH
    line.serving.serve()
    assert line.asked == ["b", "c", "b"]
    assert line.row().instance_uuid == "b"


def test_how_long_the_next_one_was_in_line_is_counted(line: Line) -> None:
    def waits() -> tuple[float, float]:
        [family] = metrics.queue_wait_seconds.collect()
        values = {sample.name.rpartition("_")[2]: sample.value for sample in family.samples}
        return values["count"], values["sum"]

    count, total = waits()
    line.free(Manager(line.db))
    with clock():
        early = timeutils.utcnow() - datetime.timedelta(hours=2)
        with line.db.writer() as session:
            session.execute(sa.update(models.QueueEntry).values(created_at=early))
        line.serving.serve()
    assert waits() == (count + 1, total + 7200)


def test_a_report_wakes_it_once(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_module, "_INTERVAL", 3600)
    served: list[int] = []
    monkeypatch.setattr(line.serving, "serve", lambda: served.append(1))
    threading.Thread(target=line.serving.run, daemon=True).start()
    line.free(Manager(line.db, line.serving.wake))
    until(lambda: len(served) == 1)
    line.serving.wake()
    until(lambda: len(served) == 2)


def test_an_error_does_not_end_it(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_module, "_INTERVAL", 0.01)
    asked: list[int] = []

    def fail() -> None:
        asked.append(1)
        raise RuntimeError("a surprise")

    monkeypatch.setattr(line.serving, "serve", fail)
    threading.Thread(target=line.serving.run, daemon=True).start()
    until(lambda: len(asked) > 2)
