# SPDX-License-Identifier: Apache-2.0
"""Work that nobody waits for."""

from __future__ import annotations

import threading

import pytest

from compute_shim.background import Background

_PATIENCE = 60


class Work:
    """Stands still until it is let go, and notes what it was given."""

    def __init__(self) -> None:
        self.begun, self.released, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.done: list[tuple[str, int]] = []

    def __call__(self, key: str, value: int) -> None:
        self.begun.set()
        assert self.released.wait(_PATIENCE)
        self.done.append((key, value))
        if key == "last":
            self.ended.set()
        if value < 0:
            raise ZeroDivisionError


def test_pieces_are_done_in_order_and_the_same_key_once(caplog: pytest.LogCaptureFixture) -> None:
    work = Work()
    background = Background("test", work)
    assert background.put("a", -1)
    assert work.begun.wait(_PATIENCE)
    for key, value in [("a", 2), ("b", 3), ("a", 4), ("last", 5)]:
        assert background.put(key, value)
    work.released.set()
    assert work.ended.wait(_PATIENCE)
    # The first piece was begun already, and its failure does not end the thread.
    assert work.done == [("a", -1), ("a", 4), ("b", 3), ("last", 5)]
    assert "Unexpected error in thread test" in caplog.text


def test_a_queue_has_an_end() -> None:
    work = Work()
    background = Background("test", work)
    background.put("first", 0)
    assert work.begun.wait(_PATIENCE)
    assert all(background.put(str(number), 0) for number in range(1000))
    assert not background.put("last", 0)
    assert background.put("7", 1)
    work.released.set()


def test_a_thread_is_started_by_the_first_piece() -> None:
    before = threading.active_count()
    Background("test", Work())
    assert threading.active_count() == before
