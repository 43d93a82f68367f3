# SPDX-License-Identifier: Apache-2.0
"""Limits of time."""

from __future__ import annotations

import pytest

from compute_shim import deadline, exception
from tests.unit.db.test_states import empty_database


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


@pytest.mark.parametrize("kind", ["reader", "writer"])
def test_no_transaction_begins_when_the_time_is_up(kind: str) -> None:
    db = empty_database()
    with deadline.within(0), pytest.raises(exception.Unavailable), getattr(db, kind)():
        raise AssertionError("it began")
