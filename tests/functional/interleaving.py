# SPDX-License-Identifier: Apache-2.0
"""Two transactions, one in the middle of the other."""

from __future__ import annotations

import dataclasses
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa

from tests.functional.databases import MariaDB, PostgreSQL

_PATIENCE = 60
# MariaDB shows the same transactions again to who has asked within a tenth of a second, and counts from the
# last question (storage/innobase/trx/trx0i_s.cc: can_cache_be_updated).
_POLL_SECONDS = 0.15


@dataclasses.dataclass(frozen=True)
class Met:
    """What became of both.

    :param first: what the one returned that was held up; so is ``second`` of the other.
    :param waited: the second one had to wait for the first.
    """

    first: Any
    second: Any
    waited: bool


class _Hold:
    """Holds up one thread before its first statement of a form."""

    def __init__(self, statement: str) -> None:
        self._statement = re.compile(statement, re.DOTALL)
        self._thread: int | None = None
        self.reached = threading.Event()
        self._go_on = threading.Event()

    def run(self, call: Callable[[], Any]) -> Any:
        self._thread = threading.get_ident()
        return call()

    def before(self, connection, cursor, text, parameters, context, many) -> None:  # type: ignore[no-untyped-def]
        if threading.get_ident() != self._thread or self.reached.is_set():
            return
        if self._statement.match(text):
            self.reached.set()
            assert self._go_on.wait(_PATIENCE), "nobody let it go on"

    def release(self) -> None:
        self._go_on.set()


def meet(
    server: MariaDB | PostgreSQL,
    engine: sa.Engine,
    first: Callable[[], Any],
    statement: str,
    second: Callable[[], Any],
) -> Met:
    """Hold up the first call before a statement, until the second is through or waits for a lock.

    :param statement: a regular expression that the beginning of its text matches.
    """
    hold = _Hold(statement)
    sa.event.listen(engine, "before_cursor_execute", hold.before)
    try:
        with ThreadPoolExecutor(2) as pool:
            try:
                one = pool.submit(hold.run, first)
                _wait(lambda: hold.reached.is_set() or one.done())
                assert hold.reached.is_set(), f"no such statement: {one.result()}"
                other: Future[Any] = pool.submit(second)
                _wait(lambda: other.done() or server.lock_waits() > 0)
                waited = not other.done()
            finally:
                hold.release()
            return Met(one.result(_PATIENCE), other.result(_PATIENCE), waited)
    finally:
        sa.event.remove(engine, "before_cursor_execute", hold.before)


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it neither ends nor waits for a lock"
        time.sleep(_POLL_SECONDS)
