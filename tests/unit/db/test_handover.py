# SPDX-License-Identifier: Apache-2.0
"""Devices that another project may have only after something was done with them."""

from __future__ import annotations

import pytest

from compute_shim.db import handover, history, intent, queries
from compute_shim.db.events import Actor
from compute_shim.objects import ClaimStatus, ReasonCode, State
from tests.unit.db.test_states import HOST, SERVERS, replugged, used

OPERATOR = Actor("operator", "req-1", "admins")
SAME = "boot/2.3/1"  # it was not plugged in anew


@pytest.mark.parametrize("rule", ["hold", "wipe"])
def test_an_administrator_releases_a_device(rule: str) -> None:
    db, row = used(serial="A")
    row = replugged(db, serial="A", plug_id=SAME, handover=rule)
    after = handover.release(db, row.id, OPERATOR)
    assert after is not None
    assert (after.state, after.last_project_id, after.generation) == (
        State.AVAILABLE,
        None,
        row.generation + 1,
    )
    event = history.page(db, history.Filter(row.id), limit=1)[0]
    assert (event.cause_code, event.user_id, event.state) == ("released", "operator", State.AVAILABLE)
    assert handover.release(db, row.id, OPERATOR) is None, "once"


def test_a_project_that_never_got_the_device_leaves_nothing_on_it() -> None:
    db, row = used(serial="A")
    assert handover.release(db, row.id, OPERATOR) is not None
    assert intent.claim(db, row.id, SERVERS[1], "q")
    for state in (State.WAITING, State.FAILED):
        generation = queries.devices(db)[0].generation
        queries.record_statuses(db, HOST, [ClaimStatus(row.id, generation, state)])
    assert queries.devices(db)[0].last_project_id is None


def test_there_is_nothing_to_release() -> None:
    db, row = used(serial="A")
    assert handover.release(db, "missing", OPERATOR) is None
    row = replugged(db, serial="A", plug_id=SAME, handover="none")
    assert handover.release(db, row.id, OPERATOR) is None
    row = replugged(db, serial="A", plug_id=SAME, handover="hold")
    assert intent.claim(db, row.id, SERVERS[0], "p")
    assert handover.release(db, row.id, OPERATOR) is None, "a server of the project has it"
    assert queries.devices(db)[0].last_project_id == "p"


def test_what_an_agent_tells_of_a_wipe_that_was_cut_short_is_of_before() -> None:
    db, row = used(serial="A")
    assert handover.release(db, row.id, OPERATOR) is not None
    late = ClaimStatus(row.id, row.generation, State.UNAVAILABLE, "no", ReasonCode.WIPE_FAILED)
    queries.record_statuses(db, HOST, [late])
    assert queries.devices(db)[0].state == State.AVAILABLE


def test_the_history_tells_of_a_wipe() -> None:
    db, row = used(serial="A")
    for state, code in (
        (State.UNAVAILABLE, ReasonCode.WIPING),
        (State.UNAVAILABLE, ReasonCode.WIPE_FAILED),
        (State.AVAILABLE, ReasonCode.WIPED),
    ):
        outcome = ClaimStatus(row.id, row.generation, state, None, code, wiped=50)
        queries.record_statuses(db, HOST, [outcome])
    events = history.page(db, history.Filter(row.id), limit=3)
    assert [event.cause_code for event in events] == ["wiped", "wipe_failed", "wiping"]
    assert [event.state for event in events] == [State.AVAILABLE, State.UNAVAILABLE, State.UNAVAILABLE]
    assert [event.reason_code for event in events] == [None, "wipe_failed", "wiping"]
