# SPDX-License-Identifier: Apache-2.0
"""Which claims are looked into, and what is remembered of them."""

from __future__ import annotations

import dataclasses
import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oslo_utils import timeutils

from compute_shim.db import absence, history, intent, models, queries
from compute_shim.db.api import Database
from compute_shim.db.events import Actor
from compute_shim.liveness import Window
from compute_shim.objects import ClaimStatus, ReasonCode, State
from tests.unit.clock import clock
from tests.unit.db.test_states import HOST, SERVERS, STICK, empty_database

MINUTE = datetime.timedelta(seconds=60)
ACTOR = Actor(None, "req-1")


def window(seconds: float = 60) -> Window:
    now, span = timeutils.utcnow(), datetime.timedelta(seconds=seconds)
    return Window(now - span, now + span)


def claimed(db: Database) -> models.Device:
    queries.sync_host(db, HOST, "QEMU", "1.1", [STICK])
    [row] = queries.devices(db)
    intent.claim(db, row.id, SERVERS[0], "demo")
    return the_row(db)


def the_row(db: Database) -> models.Device:
    [row] = queries.devices(db)
    return row


def domain(db: Database, host: str, running: bool = False) -> None:
    with db.writer() as session:
        session.add(models.Instance(instance_uuid=SERVERS[0], host=host, running=running))


@settings(max_examples=30)
@given(passed=st.one_of(st.floats(0, 59), st.floats(61, 1e8), st.floats(-1e8, -61)))
def test_only_what_is_in_doubt_and_has_stood_still_is_looked_into(passed: float) -> None:
    """What was changed in the future was so before the clock was set back: nobody knows how long ago."""
    db = empty_database()
    row = claimed(db)
    with clock() as time:
        time.jump(passed)
        found = [found.id for found in absence.in_doubt(db, window(2e8), MINUTE)]
        assert found == ([] if 0 <= passed < 60 else [row.id])
        queries.record_statuses(db, HOST, [ClaimStatus(row.id, 1, State.ATTACHED)])
        assert absence.in_doubt(db, window(2e8), MINUTE) == []
        # Nobody speaks for a host whose agent is dead.
        time.jump(3e8)
        assert [found.id for found in absence.in_doubt(db, window(), MINUTE)] == [row.id]


def test_of_a_dead_host_only_claims_are_in_doubt() -> None:
    """Neither what nobody has, nor what is being given back."""
    db = empty_database()
    row = claimed(db)
    with clock() as time:
        intent.release(db, row.id, SERVERS[0])
        time.jump(3e8)
        assert absence.in_doubt(db, window(), MINUTE) == []
        given_back = the_row(db)
        assert not absence.release(db, given_back, window(), ACTOR)
        queries.record_statuses(db, HOST, [ClaimStatus(row.id, 2, State.AVAILABLE)])
        time.jump(3e8)
        assert absence.in_doubt(db, window(), MINUTE) == []


def test_only_claims_are_counted() -> None:
    db = empty_database()
    row = claimed(db)
    other = dataclasses.replace(STICK, identity="0781:5567:B", serial="B", port="2-2")
    queries.sync_host(db, HOST, "QEMU", "1.1", [STICK, other])
    assert absence.count_claims(db) == 1
    intent.release(db, row.id, SERVERS[0])
    assert absence.count_claims(db) == 0


@pytest.mark.parametrize("running", [True, False])
def test_agents_that_are_up_are_witnesses(running: bool) -> None:
    db = empty_database()
    claimed(db)
    queries.sync_host(db, "compute2", "QEMU", "1.1", [])
    domain(db, "compute2", running)
    assert absence.domains_seen(db, window(), SERVERS) == {SERVERS[0]}
    assert absence.domains_seen(db, window(), SERVERS[1:]) == set()


def test_what_a_dead_agent_saw_proves_nothing() -> None:
    db = empty_database()
    claimed(db)
    domain(db, HOST)
    with clock() as time:
        time.jump(61)
        assert absence.domains_seen(db, window(), SERVERS) == set()


def test_to_look_into_a_claim_is_no_change_of_it() -> None:
    db = empty_database()
    row = claimed(db)
    before = row.updated_at
    absence.remember(db, row, timeutils.utcnow())
    after = the_row(db)
    assert (after.updated_at, after.absent_generation) == (before, 1)
    assert after.absent_seen is not None
    absence.remember(db, after, None)
    after = the_row(db)
    assert (after.absent_seen, after.absent_since, after.absent_generation) == (None, None, None)


def test_what_is_found_out_of_one_claim_says_nothing_of_another() -> None:
    db = empty_database()
    row = claimed(db)
    queries.sync_host(db, "compute2", "QEMU", "1.1", [STICK])
    [other] = queries.devices(db, models.Device.host == "compute2")
    assert intent.claim(db, other.id, SERVERS[1], "other")
    absence.remember(db, row, timeutils.utcnow())
    assert {found.id: found.absent_generation for found in queries.devices(db)} == {row.id: 1, other.id: None}


def test_what_is_found_out_of_an_older_claim_is_not_kept() -> None:
    db = empty_database()
    row = claimed(db)
    intent.release(db, row.id, SERVERS[0])
    absence.remember(db, row, timeutils.utcnow())
    assert the_row(db).absent_seen is None


def test_it_is_released_with_a_new_generation() -> None:
    db = empty_database()
    assert absence.release(db, claimed(db), window(), ACTOR)
    row = the_row(db)
    assert (row.state, row.generation, row.instance_uuid) == (State.DETACHING, 2, SERVERS[0])
    event = history.page(db, history.Filter(row.id))[0]
    assert (event.cause_code, event.request_id, event.instance_uuid) == (
        ReasonCode.SERVER_DELETED,
        "req-1",
        SERVERS[0],
    )


def test_a_claim_that_changed_meanwhile_is_not_released() -> None:
    db = empty_database()
    row = claimed(db)
    intent.release(db, row.id, SERVERS[0])
    assert not absence.release(db, row, window(), ACTOR)
    assert the_row(db).generation == 2


def test_a_claim_that_is_tried_anew_meanwhile_is_not_released() -> None:
    db = empty_database()
    row = claimed(db)
    queries.record_statuses(db, HOST, [ClaimStatus(row.id, 1, State.FAILED, "", ReasonCode.DEVICE_GONE)])
    row = the_row(db)
    absence.remember(db, row, timeutils.utcnow())
    assert intent.retry(db, row.id, SERVERS[0])
    assert not absence.release(db, row, window(), ACTOR)
    assert the_row(db).state == State.ATTACHING
    assert not absence.seen_since(the_row(db), timeutils.utcnow())


def test_what_was_attached_meanwhile_is_not_released() -> None:
    db = empty_database()
    row = claimed(db)
    queries.record_statuses(db, HOST, [ClaimStatus(row.id, 1, State.ATTACHED)])
    assert not absence.release(db, row, window(), ACTOR)
    assert the_row(db).state == State.ATTACHED


def test_what_is_attached_on_a_dead_host_is_released() -> None:
    db = empty_database()
    row = claimed(db)
    queries.record_statuses(db, HOST, [ClaimStatus(row.id, 1, State.ATTACHED)])
    assert not absence.release(db, row, window(), ACTOR)
    assert absence.release(db, row, window(-60), ACTOR)
    assert the_row(db).state == State.DETACHING


def test_what_may_be_released_by_hand_was_proven_twice_and_a_moment_ago() -> None:
    db = empty_database()
    row = claimed(db)
    with clock() as time:
        first = timeutils.utcnow()
        absence.remember(db, row, first)
        assert absence.proven(db, window(), MINUTE) == []
        time.jump(60)
        absence.remember(db, row, first)
        assert [found.id for found in absence.proven(db, window(200), MINUTE)] == [row.id]
        time.jump(121)
        assert absence.proven(db, window(200), MINUTE) == []
        time.jump(-300)
        assert absence.proven(db, window(500), MINUTE) == []


@pytest.mark.parametrize("change", ["retry", "domain", "attached", "not proven"])
def test_news_stop_what_may_be_released_by_hand(change: str) -> None:
    db = empty_database()
    row = claimed(db)
    with clock() as time:
        first = timeutils.utcnow()
        time.jump(60)
        absence.remember(db, row, first)
        assert len(absence.proven(db, window(200), MINUTE)) == 1
        if change == "retry":
            queries.record_statuses(
                db, HOST, [ClaimStatus(row.id, 1, State.FAILED, "", ReasonCode.DEVICE_GONE)]
            )
            intent.retry(db, row.id, SERVERS[0])
        elif change == "domain":
            domain(db, HOST)
        elif change == "attached":
            queries.record_statuses(db, HOST, [ClaimStatus(row.id, 1, State.ATTACHED)])
        else:
            absence.remember(db, row, None)
        assert absence.proven(db, window(200), MINUTE) == []
