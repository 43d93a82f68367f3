# SPDX-License-Identifier: Apache-2.0
"""When what the hypervisor refused is tried again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_shim.agent import backoff
from compute_shim.agent.backoff import Backoff
from compute_shim.agent.planner import Attach, Detach
from compute_shim.objects import Reason, ReasonCode
from tests.unit.agent.model import SERVERS, device

ATTACH = Attach(SERVERS[1], "device-1", device(1))
DETACH = Detach(SERVERS[1], "device-1", live=True, config=False)
OTHER = Attach(SERVERS[2], "device-2", device(2))
REASON = Reason(ReasonCode.NO_FREE_USB_PORT)
BUSY = Reason(ReasonCode.SERVER_BUSY)


class Clock:
    """Seconds, as a test sets them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def it(clock: Clock) -> Backoff:
    return Backoff(clock)


def test_what_was_never_refused_is_due(it: Backoff) -> None:
    it.record([ATTACH], {})
    assert it.due(ATTACH)
    assert it.reasons() == {}


def test_what_was_refused_is_due_after_a_pause(it: Backoff, clock: Clock) -> None:
    it.record([ATTACH, OTHER], {"device-1": REASON})
    assert (it.due(ATTACH), it.due(OTHER)) == (False, True)
    assert it.reasons() == {"device-1": REASON}
    clock.now += backoff._FIRST_PAUSE_SECONDS
    assert it.due(ATTACH)


def test_another_action_on_the_same_device_is_due(it: Backoff) -> None:
    """For one, the device was plugged in again."""
    it.record([ATTACH], {"device-1": REASON})
    assert it.due(DETACH)
    assert it.due(Attach(SERVERS[1], "device-1", device(1, device=99)))


@given(refusals=st.integers(1, 20))
def test_the_pause_grows_up_to_a_bound(refusals: int) -> None:
    clock = Clock()
    it = Backoff(clock)
    for number in range(refusals):
        it.record([ATTACH], {"device-1": REASON})
        pause = min(backoff._FIRST_PAUSE_SECONDS * 2**number, backoff._LONGEST_PAUSE_SECONDS)
        clock.now += pause - 0.5
        assert not it.due(ATTACH)
        clock.now += 0.5
        assert it.due(ATTACH)


def test_a_device_that_is_moved_between_two_addresses_has_one_pause(it: Backoff, clock: Clock) -> None:
    """A plan may take a device out and put it in again; the refusal is that of the last action."""
    for _ in range(2):
        it.record([DETACH, ATTACH], {"device-1": REASON})
        assert not it.due(ATTACH)
        clock.now += backoff._FIRST_PAUSE_SECONDS
    assert not it.due(ATTACH)
    clock.now += backoff._FIRST_PAUSE_SECONDS
    assert it.due(ATTACH)


def test_what_is_done_is_forgotten(it: Backoff, clock: Clock) -> None:
    it.record([ATTACH], {"device-1": REASON})
    it.record([ATTACH], {})
    it.record([ATTACH], {"device-1": REASON})
    clock.now += backoff._FIRST_PAUSE_SECONDS
    assert it.due(ATTACH)


def test_a_new_claim_is_tried_at_once(it: Backoff) -> None:
    it.record([ATTACH, OTHER], {"device-1": REASON, "device-2": REASON})
    it.forget("device-1")
    assert (it.due(ATTACH), it.due(OTHER)) == (True, False)


def test_what_a_server_refused_is_due_when_the_server_has_changed(it: Backoff) -> None:
    it.record([ATTACH, OTHER], {"device-1": REASON, "device-2": REASON})
    it.retry(SERVERS[1])
    assert (it.due(ATTACH), it.due(OTHER)) == (True, False)
    # Until then the reason stands.
    assert it.reasons() == {"device-1": REASON, "device-2": REASON}


def test_a_server_that_is_being_moved_is_asked_again_at_once(it: Backoff) -> None:
    assert not it.waits_for_server()
    it.record([ATTACH], {"device-1": BUSY})
    assert it.waits_for_server()
    assert it.due(ATTACH)
    it.record([ATTACH], {})
    assert not it.waits_for_server()
