# SPDX-License-Identifier: Apache-2.0
"""A call that may hang, for callers who must not."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Bounded(Generic[T]):
    """Makes a call in a thread of its own, and waits for the result for a bounded time.

    There is one such thread at a time: while a call hangs, further callers wait for that one.

    :param call: takes nothing.
    :param seconds: the longest time to wait.
    """

    def __init__(self, call: Callable[[], T], seconds: float) -> None:
        self._call = call
        self._seconds = seconds
        self._lock = threading.Lock()
        self._running: concurrent.futures.Future[T] | None = None

    def __call__(self) -> T:
        """The result of the call, or its exception.

        :raises TimeoutError: there is none yet
        """
        with self._lock:
            if self._running is None or self._running.done():
                self._running = concurrent.futures.Future()
                # A daemon, so that a call that hangs does not keep the process from ending.
                threading.Thread(
                    target=self._work, args=(self._running,), name="bounded", daemon=True
                ).start()
            running = self._running
        return running.result(self._seconds)

    def _work(self, future: concurrent.futures.Future[T]) -> None:
        try:
            future.set_result(self._call())
        except Exception as error:
            future.set_exception(error)
