# SPDX-License-Identifier: Apache-2.0
"""What the history says of changes that agents tell of."""

from __future__ import annotations

import pytest

from compute_shim.db import events, history, intent, models, queries
from compute_shim.db.api import Database
from compute_shim.db.events import Actor
from compute_shim.objects import ClaimStatus, Reason, ReasonCode, State
from novaclient_usb.reason_codes import describe
from tests.unit.db.test_states import HOST, SERVERS, STICK, empty_database

ATTACHING, ATTACHED, WAITING, FAILED, DETACHING, AVAILABLE = (
    State.ATTACHING,
    State.ATTACHED,
    State.WAITING,
    State.FAILED,
    State.DETACHING,
    State.AVAILABLE,
)
Code = ReasonCode
# State, and why.
Told = tuple[State, ReasonCode | None]


def claimed() -> tuple[Database, str]:
    """A stick that a server has asked for."""
    db = empty_database()
    queries.sync_host(db, HOST, "QEMU", "1.3", [STICK])
    [row] = queries.devices(db)
    assert intent.claim(db, row.id, SERVERS[0], "demo", Actor("user", "req-1", "demo"))
    return db, row.id


def tell(
    db: Database, device_id: str, state: State, code: ReasonCode | None, reason: str | None = None
) -> None:
    row = queries.device(db, device_id)
    assert row is not None
    queries.record_statuses(db, HOST, [ClaimStatus(device_id, row.generation, state, reason, code)])


def latest(db: Database) -> models.Event:
    return history.page(db, history.Filter(), limit=1)[0]


@pytest.mark.parametrize(
    ("before", "now", "cause"),
    [
        # What makes an obstacle.
        ((ATTACHED, None), (WAITING, Code.UNPLUGGED), Code.UNPLUGGED),
        ((ATTACHED, None), (WAITING, Code.SERVER_OFF), Code.SERVER_STOPPED),
        ((ATTACHED, None), (WAITING, Code.DOMAIN_ABSENT), Code.SERVER_STOPPED),
        ((ATTACHED, None), (WAITING, Code.SERVER_ON_OTHER_HOST), Code.SERVER_MOVED),
        ((ATTACHED, None), (WAITING, Code.SERVER_SHELVED), Code.SERVER_SHELVED),
        ((ATTACHED, None), (WAITING, Code.SERVER_BUSY), Code.SERVER_BUSY),
        # What ends it.
        ((WAITING, Code.UNPLUGGED), (ATTACHED, None), Code.PLUGGED_IN),
        ((WAITING, Code.IDENTITY_IN_DOUBT), (ATTACHED, None), Code.PLUGGED_IN),
        ((WAITING, Code.SERVER_OFF), (ATTACHED, None), Code.SERVER_STARTED),
        ((WAITING, Code.DOMAIN_ABSENT), (ATTACHED, None), Code.SERVER_STARTED),
        ((WAITING, Code.SERVER_ON_OTHER_HOST), (ATTACHED, None), Code.SERVER_MOVED),
        ((WAITING, Code.SERVER_SHELVED), (ATTACHED, None), Code.SERVER_UNSHELVED),
        ((WAITING, Code.SERVER_BUSY), (ATTACHED, None), Code.SERVER_BUSY),
        ((WAITING, Code.SERVER_OFF), (FAILED, Code.HYPERVISOR_ERROR), Code.SERVER_STARTED),
        # One obstacle after the other: the new one is the news.
        ((WAITING, Code.UNPLUGGED), (WAITING, Code.SERVER_OFF), Code.SERVER_STOPPED),
        # Nobody did anything: the agent has tried again.
        ((ATTACHED, None), (FAILED, Code.HYPERVISOR_ERROR), Code.RETRIED),
        ((FAILED, Code.HYPERVISOR_ERROR), (ATTACHED, None), Code.RETRIED),
        ((FAILED, Code.HYPERVISOR_ERROR), (FAILED, Code.NO_FREE_USB_PORT), Code.RETRIED),
        ((ATTACHED, None), (WAITING, Code.PORT_OCCUPIED), Code.HOST_USE_CHANGED),
    ],
)
def test_why_a_claim_changed(before: Told, now: Told, cause: ReasonCode) -> None:
    db, device_id = claimed()
    tell(db, device_id, *before)
    assert latest(db).cause_code == Code.REQUESTED
    tell(db, device_id, *now)
    assert latest(db).cause_code == cause


def test_why_a_device_is_not_given_back_yet() -> None:
    """The first reason belongs to the request, and so does the end; further reasons are further tries."""
    db, device_id = claimed()
    tell(db, device_id, ATTACHED, None)
    intent.release(db, device_id, SERVERS[0])
    causes = []
    for state, code in (
        (DETACHING, Code.OPEN_IN_SERVER),
        (DETACHING, Code.NOT_REMOVED),
        (AVAILABLE, None),
    ):
        tell(db, device_id, state, code)
        causes.append(latest(db).cause_code)
    assert causes == [Code.REQUESTED, Code.RETRIED, Code.REQUESTED]


def test_an_event_of_a_queue_tells_which_device_it_is_about() -> None:
    db, device_id = claimed()
    entry = models.QueueEntry(server_id=SERVERS[1], project_id="other", device_id=device_id)
    with db.writer() as session:
        events.add_of_line(session, entry, Code.QUEUE_JOINED, Actor("u", "req-2", "other"))
    event = latest(db)
    assert (event.device_id, event.device_name, event.host, event.port) == (
        device_id,
        STICK.name,
        HOST,
        STICK.port,
    )
    assert (event.instance_uuid, event.project_id, event.state) == (SERVERS[1], "other", "")
    assert (event.user_id, event.actor_project_id, event.request_id) == ("u", "other", "req-2")


@pytest.mark.parametrize("device_id", [None, "forgotten"])
def test_an_event_of_a_queue_without_a_device(device_id: str | None) -> None:
    db = empty_database()
    entry = models.QueueEntry(server_id=SERVERS[1], project_id="other", device_id=device_id, kind="dongle")
    with db.writer() as session:
        events.add_of_line(session, entry, Code.QUEUE_LEFT, note=Reason(Code.FORGOTTEN))
    event = latest(db)
    assert (event.device_id, event.device_name, event.host, event.port) == (
        device_id or "",
        "dongle",
        None,
        None,
    )
    assert (event.reason_code, event.user_id, event.request_id) == (Code.FORGOTTEN, None, None)


def test_a_reason_and_what_became_of_the_reset_are_both_told() -> None:
    """The code is of the latter: the device's state has the former."""
    db, device_id = claimed()
    tell(db, device_id, ATTACHED, None)
    queries.set_device(db, device_id, enabled=False)
    intent.release(db, device_id, SERVERS[0])
    tell(db, device_id, AVAILABLE, Code.RESET_SKIPPED, "not reset: it is gone")
    event = latest(db)
    assert (event.state, event.reason_code) == (State.UNAVAILABLE, Code.RESET_SKIPPED)
    assert event.state_reason == f"{Reason(Code.DISABLED).text}; not reset: it is gone"
    assert (event.instance_uuid, event.project_id) == (SERVERS[0], "demo")


def test_programs_that_know_no_codes_read_the_cause_as_a_text() -> None:
    """It may be longer than their column."""
    db, device_id = claimed()
    found = history.page(db, history.Filter(oldest_first=True))
    assert [event.cause for event in found] == [describe(Code.PLUGGED_IN), describe(Code.REQUESTED)]
    with db.writer() as session:
        for code in Code:
            events.add(session, session.get_one(models.Device, device_id), code)
    assert max(len(event.cause) for event in history.page(db, history.Filter())) == 32


def causes(db: Database) -> list[str | None]:
    return [event.cause_code for event in history.page(db, history.Filter())]


def test_what_an_operator_does_is_no_loose_contact(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is recorded whatever the limit, and does not count."""
    monkeypatch.setattr(events, "_LIMIT", 3)
    db = empty_database()
    for _ in range(4):
        queries.sync_host(db, HOST, "QEMU", "1.3", [STICK])
        [row] = queries.devices(db)
        queries.sync_host(db, HOST, "QEMU", "1.3", [])
        assert queries.forget(db, row.id, Actor("operator", "req-2"))
    assert causes(db) == [*["forgotten"] * 3, "plugged_in", "forgotten", "unplugged", "plugged_in"]
    flapping = history.page(db, history.Filter())[3]
    assert (flapping.reason_code, flapping.state_reason) == (Code.FLAPPING, Reason(Code.FLAPPING).text)


def test_what_becomes_of_a_request_is_no_loose_contact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_LIMIT", 3)
    db, device_id = claimed()
    for _ in range(3):
        tell(db, device_id, ATTACHED, None)
        intent.release(db, device_id, SERVERS[0], actor=Actor("user", "req-2", "demo"))
        tell(db, device_id, AVAILABLE, None)
        intent.claim(db, device_id, SERVERS[0], "demo", Actor("user", "req-3", "demo"))
    tell(db, device_id, ATTACHED, None)
    tell(db, device_id, WAITING, Code.UNPLUGGED)
    assert causes(db)[0] == "unplugged"
    assert len(causes(db)) == 2 + 3 * 4 + 2


def test_the_last_event_below_the_limit_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the reason of the state."""
    monkeypatch.setattr(events, "_LIMIT", 2)
    db, device_id = claimed()
    for state, code in (
        (ATTACHED, None),
        (FAILED, Code.DEVICE_GONE),
        (WAITING, Code.UNPLUGGED),
        (ATTACHED, None),
    ):
        tell(db, device_id, state, code)
    event = latest(db)
    assert (event.state, event.reason_code) == (WAITING, Code.FLAPPING)
    assert [it.reason_code for it in history.page(db, history.Filter())].count(Code.FLAPPING) == 1
    assert event.state_reason == "; ".join(Reason(code).text for code in (Code.UNPLUGGED, Code.FLAPPING))


@pytest.mark.parametrize(
    ("code", "text", "reason"),
    [
        (None, None, None),
        ("unplugged", "unplugged", Reason(Code.UNPLUGGED, "unplugged")),
        (None, "the server is off", Reason(Code.SERVER_OFF, "the server is off")),
        (None, "libvirt: no", Reason(Code.HYPERVISOR_ERROR, "libvirt: no")),
    ],
    ids=["none", "code", "text of RPC 1.0", "text that nobody knows"],
)
def test_the_reason_of_an_event(code: str | None, text: str | None, reason: Reason | None) -> None:
    assert events.reason(models.Event(reason_code=code, state_reason=text)) == reason


def host_problems(db: Database) -> list[tuple[str | None, str | None]]:
    """Those in the history, the earliest first."""
    found = history.page(db, history.Filter(), limit=500)
    code = Code.HOST_PROBLEM
    return [(event.host, event.state_reason) for event in reversed(found) if event.cause_code == code]


def test_a_new_problem_of_a_host_is_an_event() -> None:
    db = empty_database()
    hook, certificate = "No hook.", "The certificate ends."
    for problems in ([], [hook], [hook], [hook, certificate], [certificate], [certificate, hook]):
        queries.sync_host(db, HOST, "QEMU", "1.3", [STICK], problems)
    assert host_problems(db) == [(HOST, hook), (HOST, certificate), (HOST, hook)]
    [host] = queries.hosts(db)
    assert host.problems == f"{certificate}\n{hook}"


def test_a_problem_of_a_new_host_is_an_event() -> None:
    db = empty_database()
    queries.sync_host(db, HOST, "QEMU", "1.3", [], ["No hook."])
    assert host_problems(db) == [(HOST, "No hook.")]


def test_a_problem_that_comes_and_goes_does_not_fill_the_history() -> None:
    db = empty_database()
    for number in range(200):
        queries.sync_host(db, HOST, "QEMU", "1.3", [STICK], ["No hook."] * (number % 2))
    assert len(host_problems(db)) == 60
