# SPDX-License-Identifier: Apache-2.0
"""A server that has one of a kind and moves gets another one where it is now, or waits for one."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest
from oslo_utils import timeutils

from compute_shim.conductor import payloads
from compute_shim.conductor.serving import Serving
from compute_shim.db import handover, history, intent, models, queries, queue, states, usage
from compute_shim.db.events import Actor
from compute_shim.liveness import Window
from compute_shim.objects import ClaimStatus, Device, ReasonCode, Server, State
from novaclient_usb.reason_codes import describe
from tests.unit.conductor.cloud import Nudger
from tests.unit.db.test_states import HOST, STICK, empty_database

KIND = "dongle"
AWAY = "compute2"
OTHER = ReasonCode.SERVER_ON_OTHER_HOST
ABSENT = ReasonCode.DOMAIN_ABSENT


class Hosts:
    """Two hosts with a dongle each; server a has the first one."""

    def __init__(self, claimed: str | None = KIND, lease: int | None = None, **away: Any) -> None:
        self.db = empty_database()
        self.sync(HOST, "a", serial="A")
        self.id = self.rows(HOST)[0].id
        assert intent.claim(self.db, self.id, "a", "demo", kind=claimed, lease=lease)
        self.report(State.ATTACHED)
        self.away: dict[str, Any] = {"serial": "B", **away}
        self.sync(AWAY, **self.away)
        self.limits: dict[str, int] = {}
        self.nudger = Nudger()
        self.up = {HOST, AWAY}
        # What Nova says, and what it was asked.
        self.confirmed = True
        self.asked: list[tuple[str, str]] = []

    def sync(self, host: str, *servers: str, running: bool = True, **device: Any) -> None:
        """What an agent sees: these servers, and perhaps a device."""
        there = dict.fromkeys(servers, Server(running))
        stick = Device(**{**vars(STICK), "kind": KIND, "identity": device.get("serial"), **device})
        queries.sync_host(self.db, host, "QEMU", "1.3", [stick] if device else [], servers=there)

    def report(self, state: State, code: ReasonCode | None = None) -> None:
        """What the agent says of the claim of server a on the first dongle."""
        outcome = ClaimStatus(self.id, self.claim.generation, state, reason_code=code)
        queries.record_statuses(self.db, HOST, [outcome])

    def move(self, code: ReasonCode = ABSENT, *, running: bool = True) -> None:
        """Server a moves to the other host."""
        self.sync(HOST, serial="A")
        self.sync(AWAY, "a", running=running, **self.away)
        self.report(State.WAITING, code)

    def conductor(self) -> Serving:
        """One that starts."""
        return Serving(self.db, self.nudger, lambda project_id: self.limits, None, self.window, self.is_on)

    def window(self) -> Window:
        now = timeutils.utcnow()
        minute = datetime.timedelta(minutes=1)
        return Window(now - minute, now + minute)

    def serve(self, conductor: Serving | None = None) -> None:
        """A conductor looks at all that waits."""
        with self.db.writer() as session:
            for host in session.query(models.Host):
                moment = timeutils.utcnow()
                host.last_seen = moment if host.host in self.up else moment - datetime.timedelta(days=1)
        (conductor or self.conductor()).serve()

    def is_on(self, server_id: str, host: str) -> bool:
        self.asked.append((server_id, host))
        return self.confirmed

    def rows(self, host: str) -> list[models.Device]:
        return list(queries.devices(self.db, models.Device.host == host))

    @property
    def claim(self) -> models.Device:
        row = queries.device(self.db, self.id)
        assert row is not None
        return row

    @property
    def there(self) -> models.Device:
        [row] = self.rows(AWAY)
        return row


@pytest.mark.parametrize("code", [ABSENT, ReasonCode.SERVER_OFF, ReasonCode.SERVER_SHELVED, OTHER])
def test_a_free_device_of_the_kind_takes_over(code: ReasonCode) -> None:
    hosts = Hosts()
    hosts.move(code)
    hosts.serve()
    assert (hosts.claim.state, hosts.claim.instance_uuid, hosts.claim.generation) == (
        State.DETACHING,
        "a",
        2,
    )
    assert (hosts.there.state, hosts.there.instance_uuid, hosts.there.generation) == (
        State.ATTACHING,
        "a",
        1,
    )
    assert (hosts.there.project_id, hosts.there.claimed_kind) == ("demo", KIND)
    assert [device_id for device_id, _ in hosts.nudger.nudged] == [hosts.there.id, hosts.id]
    causes = [
        history.page(hosts.db, history.Filter(row.id))[0].cause_code for row in (hosts.claim, hosts.there)
    ]
    assert causes == [ReasonCode.SERVER_MOVED] * 2
    # What the agent still says of the old claim is of before.
    queries.record_statuses(hosts.db, HOST, [ClaimStatus(hosts.id, 1, State.ATTACHED)])
    assert hosts.claim.state == State.DETACHING
    queries.record_statuses(hosts.db, HOST, [ClaimStatus(hosts.id, 2, State.AVAILABLE)])
    assert (hosts.claim.state, hosts.claim.claimed_kind) == (State.AVAILABLE, None)


def test_an_agents_word_is_not_enough() -> None:
    """Else a hostile host could have the devices of other hosts released."""
    hosts = Hosts()
    hosts.confirmed = False
    hosts.move()
    hosts.serve()
    assert hosts.asked == [("a", AWAY)]
    assert (hosts.claim.state, hosts.claim.reason_code) == (State.WAITING, ABSENT)
    assert hosts.there.instance_uuid is None
    hosts.confirmed = True
    hosts.serve()
    assert hosts.there.instance_uuid == "a"


def test_nova_is_asked_less_and_less_often_about_what_it_does_not_confirm() -> None:
    hosts = Hosts()
    hosts.confirmed = False
    hosts.move()
    conductor, now = hosts.conductor(), [0]
    conductor._unconfirmed._clock = lambda: now[0]
    asked: list[int] = []
    for second in range(40):
        now[0] = second
        hosts.serve(conductor)
        if len(hosts.asked) > len(asked):
            asked.append(second)
    assert asked == [0, 5, 15, 35]
    # An agent that comes back tells it anew.
    hosts.up = {HOST}
    hosts.serve(conductor)
    hosts.up = {HOST, AWAY}
    hosts.serve(conductor)
    assert len(hosts.asked) == 5


def test_nova_is_asked_only_where_there_is_something_to_get() -> None:
    hosts = Hosts(shared=False)
    hosts.move()
    hosts.serve()
    hosts.serve()
    assert (hosts.claim.reason_code, hosts.asked) == (ReasonCode.KIND_NOT_FREE, [])


def test_it_goes_back_with_the_server() -> None:
    hosts = Hosts()
    hosts.move()
    hosts.serve()
    queries.record_statuses(hosts.db, HOST, [ClaimStatus(hosts.id, 2, State.AVAILABLE)])
    there = hosts.there.id
    queries.record_statuses(hosts.db, AWAY, [ClaimStatus(there, 1, State.WAITING, reason_code=ABSENT)])
    hosts.sync(AWAY, **hosts.away)
    hosts.sync(HOST, "a", serial="A")
    hosts.serve()
    assert (hosts.claim.state, hosts.claim.instance_uuid) == (State.ATTACHING, "a")
    assert hosts.there.state == State.DETACHING


@pytest.mark.parametrize(
    ("running", "code", "follows"),
    [(True, ABSENT, True), (False, ABSENT, False), (False, OTHER, True)],
)
def test_of_a_server_that_does_not_run_only_nova_tells_where_it_is(
    running: bool, code: ReasonCode, follows: bool
) -> None:
    """Until a resize is confirmed the old host has its domain as well."""
    hosts = Hosts()
    hosts.move(code, running=running)
    hosts.serve()
    assert hosts.there.instance_uuid == ("a" if follows else None)


def test_a_server_that_runs_at_home_is_not_followed() -> None:
    """While it is migrated, both hosts have its domain."""
    hosts = Hosts()
    hosts.sync(AWAY, "a", **hosts.away)
    hosts.serve()
    assert (hosts.claim.state, hosts.there.instance_uuid) == (State.ATTACHED, None)


@pytest.mark.parametrize(
    "away",
    [
        {"kind": "printer"},
        {"shared": False},
        {"shared": False, "projects": ("other",)},
        {"blocked_code": "host_mount", "blocked_reason": "used by the host: mounted at /srv"},
    ],
    ids=str,
)
def test_only_one_that_the_project_could_have_itself(away: dict[str, Any]) -> None:
    hosts = Hosts(**away)
    hosts.move()
    hosts.serve()
    assert hosts.there.instance_uuid is None
    assert (hosts.claim.state, hosts.claim.reason_code) == (State.WAITING, ReasonCode.KIND_NOT_FREE)
    # Its project cannot attach to it what it has no right to; it may be shared later.
    hosts.sync(AWAY, "a", serial="B", shared=False, projects=("demo",))
    hosts.serve()
    assert hosts.there.instance_uuid == "a"


def test_not_one_that_is_disabled_or_held_for_an_administrator() -> None:
    hosts = Hosts(handover="hold")
    assert intent.claim(hosts.db, hosts.there.id, "b", "other")
    queries.record_statuses(hosts.db, AWAY, [ClaimStatus(hosts.there.id, 1, State.ATTACHED)])
    intent.release(hosts.db, hosts.there.id, "b")
    queries.record_statuses(hosts.db, AWAY, [ClaimStatus(hosts.there.id, 2, State.AVAILABLE)])
    hosts.move()
    hosts.serve()
    assert hosts.claim.reason_code == ReasonCode.KIND_NOT_FREE
    queries.set_device(hosts.db, hosts.there.id, enabled=False)
    assert handover.release(hosts.db, hosts.there.id)
    hosts.serve()
    assert hosts.there.instance_uuid is None
    queries.set_device(hosts.db, hosts.there.id, enabled=True)
    hosts.serve()
    assert hosts.there.instance_uuid == "a"


def test_a_device_that_was_claimed_itself_is_not_replaced() -> None:
    hosts = Hosts(claimed=None)
    hosts.move()
    hosts.serve()
    assert hosts.there.instance_uuid is None
    assert (hosts.claim.state, hosts.claim.reason_code) == (State.WAITING, ABSENT)


def test_nothing_is_taken_on_a_host_that_is_down() -> None:
    hosts = Hosts()
    hosts.move()
    hosts.up = {HOST}
    hosts.serve()
    assert hosts.there.instance_uuid is None
    assert (hosts.claim.state, hosts.claim.reason_code) == (State.WAITING, ABSENT)


def test_from_a_host_that_died_it_is_followed_as_nova_says() -> None:
    """Evacuated: the dead host's agent told last that the server runs there."""
    hosts = Hosts()
    hosts.up = {AWAY}
    hosts.sync(AWAY, "a", **hosts.away)
    hosts.serve()
    assert hosts.there.instance_uuid is None
    intent.wait_for_server(hosts.db, hosts.claim, OTHER)
    hosts.serve()
    assert hosts.there.instance_uuid == "a"
    assert hosts.claim.state == State.DETACHING


def test_who_has_moved_comes_before_those_in_line() -> None:
    hosts = Hosts()
    assert intent.claim(hosts.db, hosts.there.id, "b", "other")
    hosts.sync(AWAY, "a", "b", "c", **hosts.away)
    queue.join(hosts.db, "c", "other", Actor("c", "req-c", "other"), kind=KIND)
    hosts.move()
    hosts.sync(AWAY, "a", "b", "c", **hosts.away)
    hosts.serve()
    assert hosts.claim.reason_code == ReasonCode.KIND_NOT_FREE
    intent.release(hosts.db, hosts.there.id, "b")
    queries.record_statuses(hosts.db, AWAY, [ClaimStatus(hosts.there.id, 2, State.AVAILABLE)])
    hosts.serve()
    assert hosts.there.instance_uuid == "a"
    assert [it.entry.server_id for it in queue.waiting(hosts.db)] == ["c"]


def test_it_is_one_claim_all_the_time() -> None:
    """The quota does not count it twice, and the lease goes on."""
    hosts = Hosts(lease=3600)
    end = hosts.claim.lease_until
    hosts.limits = {usage.DEVICES: 1}
    hosts.move()
    hosts.serve()
    assert (hosts.there.instance_uuid, hosts.there.lease_until) == ("a", end)
    caps = usage.Caps(hosts.limits)
    over = usage.would_exceed(hosts.db, caps, hosts.there, "a", "demo")
    assert over == {}


def test_each_device_goes_to_one_server() -> None:
    hosts = Hosts()
    second = dataclasses.replace(STICK, identity="C", serial="C", port="2-2", kind=KIND)
    first = dataclasses.replace(STICK, identity="A", serial="A", kind=KIND)
    queries.sync_host(hosts.db, HOST, "QEMU", "1.3", [first, second])
    [other] = [row for row in hosts.rows(HOST) if row.id != hosts.id]
    assert intent.claim(hosts.db, other.id, "b", "demo", kind=KIND)
    queries.record_statuses(hosts.db, HOST, [ClaimStatus(other.id, 1, State.WAITING, reason_code=ABSENT)])
    hosts.report(State.WAITING, ABSENT)
    hosts.sync(AWAY, "a", "b", **hosts.away)
    hosts.serve()
    assert hosts.there.instance_uuid == "a"
    found = queries.device(hosts.db, other.id)
    assert found is not None
    assert (found.instance_uuid, found.reason_code) == ("b", ReasonCode.KIND_NOT_FREE)


def test_waiting_longer_is_no_news() -> None:
    hosts = Hosts(shared=False)
    hosts.move()
    hosts.serve()
    before = history.page(hosts.db, history.Filter(hosts.id))
    assert (before[0].cause_code, before[0].reason_code) == (
        ReasonCode.SERVER_MOVED,
        ReasonCode.KIND_NOT_FREE,
    )
    hosts.serve()
    assert len(history.page(hosts.db, history.Filter(hosts.id))) == len(before)


@pytest.mark.parametrize(
    ("version", "code"),
    [("1.1", OTHER), ("1.2", OTHER), ("1.3", ReasonCode.KIND_NOT_FREE), ("2.0", ReasonCode.KIND_NOT_FREE)],
)
def test_an_older_agent_is_told_what_it_knows(version: str, code: ReasonCode) -> None:
    """Else it would say that the server has no domain, again and again."""
    hosts = Hosts(shared=False)
    hosts.move()
    hosts.serve()
    told = payloads.claim(states.claim_of(hosts.claim), version)
    assert (told["reason_code"], told["reason"]) == (code, describe(code))


def test_a_device_that_is_wanted_back_at_home_stays() -> None:
    """The server has moved back before any was free."""
    hosts = Hosts(shared=False)
    hosts.move()
    hosts.serve()
    hosts.sync(HOST, "a", serial="A")
    hosts.report(State.ATTACHED)
    hosts.sync(AWAY, serial="B")
    hosts.serve()
    assert (hosts.claim.state, hosts.there.instance_uuid) == (State.ATTACHED, None)
    cause = history.page(hosts.db, history.Filter(hosts.id))[0].cause_code
    assert cause == ReasonCode.SERVER_MOVED


@pytest.mark.parametrize("free", ["dongle", "reader"])
def test_a_move_without_a_free_device_is_in_the_way_of_no_other(free: str) -> None:
    hosts = Hosts()
    kinds = {"dongle": "a", "reader": "b"}
    devices = [
        dataclasses.replace(STICK, kind=kind, shared=True, identity=kind, serial=kind) for kind in kinds
    ]
    queries.sync_host(hosts.db, HOST, "QEMU", "1.3", devices, servers=dict.fromkeys("ab", Server(True)))
    claims = {row.kind: row for row in hosts.rows(HOST) if row.present}
    for kind, server in kinds.items():
        assert intent.claim(hosts.db, claims[kind].id, server, "demo", kind=kind)
    there = [dataclasses.replace(device, serial="far") for device in devices if device.kind == free]
    queries.sync_host(hosts.db, HOST, "QEMU", "1.3", devices, servers={})
    queries.sync_host(hosts.db, AWAY, "QEMU", "1.3", there, servers=dict.fromkeys("ab", Server(True)))
    waiting = [ClaimStatus(row.id, 1, State.WAITING, reason_code=ABSENT) for row in claims.values()]
    queries.record_statuses(hosts.db, HOST, waiting)
    hosts.serve()
    assert [row.instance_uuid for row in hosts.rows(AWAY) if row.present] == [kinds[free]]
