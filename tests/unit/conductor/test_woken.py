# SPDX-License-Identifier: Apache-2.0
"""Loops that are woken: they work when there is news, and otherwise from time to time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest
from oslo_db import exception as db_exception
from sqlalchemy import exc as sqlalchemy_exception

from compute_shim.conductor import woken

INTERVAL = 5.0


class End(BaseException):
    """Ends a loop that goes on forever."""


class News(threading.Event):
    """Nobody really waits for it.

    :ivar waits: for how long somebody would have, and whether there was news already.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[tuple[float | None, bool]] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append((timeout, self.is_set()))
        assert len(self.waits) < 10, "it waits, and never works"
        return self.is_set()


def run(news: News, *attempts: Callable[[], None]) -> None:
    """A loop with so many attempts, after which it ends."""
    following = iter(attempts)

    def work() -> None:
        attempt = next(following, None)
        if attempt is None:
            raise End
        attempt()

    with pytest.raises(End):
        woken.run(news, work, INTERVAL, "look")


def test_before_each_attempt_it_waits_for_news() -> None:
    news = News()
    seen: list[tuple[int, bool]] = []

    def attempt() -> None:
        seen.append((len(news.waits), news.is_set()))

    news.set()
    run(news, attempt, attempt)
    assert seen == [(1, False), (2, False)]
    assert news.waits == [(INTERVAL, True), (INTERVAL, False), (INTERVAL, False)]


def test_news_that_comes_while_it_works_is_not_lost() -> None:
    news = News()
    run(news, news.set, lambda: None)
    assert [is_news for _, is_news in news.waits] == [False, True, False]


@pytest.mark.parametrize(
    ("error", "level", "text"),
    [
        (db_exception.DBConnectionError("gone"), logging.WARNING, "Cannot look: "),
        (sqlalchemy_exception.TimeoutError("no connection"), logging.WARNING, "Cannot look: no connection"),
        (RuntimeError("of a kind that nobody knows"), logging.ERROR, "Cannot look; next try in 5.0 s"),
    ],
)
def test_an_error_ends_one_attempt(
    error: Exception, level: int, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[int] = []

    def fail() -> None:
        raise error

    run(News(), fail, lambda: done.append(1))
    assert done == [1]
    [record] = caplog.records
    assert record.levelno == level
    assert record.getMessage().startswith(text)
