# SPDX-License-Identifier: Apache-2.0
"""Calls that may hang."""

from __future__ import annotations

import threading

import pytest

from compute_shim.bounded import Bounded


def test_results_and_errors_come_through() -> None:
    calls = Bounded(1)
    assert calls.run(lambda: 5, 60) == 5
    with pytest.raises(ZeroDivisionError):
        calls.run(lambda: 1 // 0, 60)
    assert calls.run(lambda: 6, 60) == 6


def test_what_hangs_is_left_and_its_slot_comes_back() -> None:
    calls = Bounded(1)
    go_on = threading.Event()
    with pytest.raises(TimeoutError):
        calls.run(go_on.wait, 0.01)
    with pytest.raises(TimeoutError):
        calls.run(lambda: 5, 0.01)
    go_on.set()
    assert calls.run(lambda: 5, 60) == 5
