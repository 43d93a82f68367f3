# SPDX-License-Identifier: Apache-2.0
"""Limits of time."""

from __future__ import annotations

import threading

import pytest

from compute_shim import deadline, exception


def test_without_a_limit_there_is_none() -> None:
    assert deadline.remaining() is None


def test_what_is_left_and_what_is_not() -> None:
    with deadline.within(50):
        assert 0 < (deadline.remaining() or 0) <= 50
        with deadline.within(0), pytest.raises(exception.Unavailable) as caught:
            deadline.remaining()
        assert (deadline.remaining() or 0) > 0
    assert caught.value.reason_code == "timeout"
    assert deadline.remaining() is None


def test_results_and_errors_come_through() -> None:
    calls = deadline.Bounded(1)
    assert calls.run(lambda: 5, 60) == 5
    with pytest.raises(ZeroDivisionError):
        calls.run(lambda: 1 // 0, 60)
    assert calls.run(lambda: 6, 60) == 6


def test_what_hangs_is_left_and_its_slot_comes_back() -> None:
    calls = deadline.Bounded(1)
    go_on = threading.Event()
    with pytest.raises(TimeoutError):
        calls.run(go_on.wait, 0.01)
    with pytest.raises(TimeoutError):
        calls.run(lambda: 5, 0.01)
    go_on.set()
    assert calls.run(lambda: 5, 60) == 5
