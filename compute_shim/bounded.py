# SPDX-License-Identifier: Apache-2.0
"""Calls that may hang, for callers who must not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent import futures
from typing import TypeVar

T = TypeVar("T")


class Bounded:
    """Runs calls that nothing can interrupt, such as a read of bytes that come one by one.

    Each has a thread of its own. A call that takes too long is left to itself.

    :param most: how many calls run at a time, with those that were left.
    """

    def __init__(self, most: int) -> None:
        self._slots = threading.BoundedSemaphore(most)

    def run(self, call: Callable[[], T], seconds: float) -> T:
        """What a call returns or raises.

        :raises TimeoutError: it does not end in that time
        """
        end = time.monotonic() + seconds
        if not self._slots.acquire(timeout=seconds):
            raise TimeoutError
        future: futures.Future[T] = futures.Future()
        # A daemon, so that it does not keep the process from ending.
        threading.Thread(target=self._work, args=(call, future), daemon=True).start()
        return future.result(max(0.0, end - time.monotonic()))

    def _work(self, call: Callable[[], T], future: futures.Future[T]) -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)
        finally:
            self._slots.release()
