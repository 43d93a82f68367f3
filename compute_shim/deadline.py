# SPDX-License-Identifier: Apache-2.0
"""How long the work that this thread does may take, all of it together.

Known to the thread and not passed on by every function, because it limits what is far below a request: one
more try of a transaction, one more call of Nova. Where nobody set a limit there is none.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import TypeVar

from compute_shim import exception
from novaclient_usb.reason_codes import ReasonCode

T = TypeVar("T")

# When the time is up, by the clock of `time.monotonic`.
_END: contextvars.ContextVar[float | None] = contextvars.ContextVar("deadline", default=None)


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Limit what is done inside."""
    token = _END.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _END.reset(token)


def remaining() -> float | None:
    """The seconds that are left, None if there is no limit.

    :raises compute_shim.exception.Unavailable: none are left
    """
    end = _END.get()
    if end is None:
        return None
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise exception.Unavailable(
            "The request took too long and was ended. What it asked for may or may not have been done: look"
            " before you try again.",
            ReasonCode.TIMEOUT,
        )
    return seconds


class Bounded:
    """Runs calls that nothing can interrupt, such as a read of bytes that come one by one.

    Each has a thread of its own. What takes too long is left to itself.

    :param most: how many calls run at a time, with those that were left.
    """

    def __init__(self, most: int) -> None:
        self._slots = threading.BoundedSemaphore(most)

    def run(self, call: Callable[[], T], seconds: float) -> T:
        """What a call returns or raises.

        :raises TimeoutError: it does not end in that time
        """
        if not self._slots.acquire(timeout=seconds):
            raise TimeoutError
        future: futures.Future[T] = futures.Future()
        # A daemon, so that it does not keep the process from ending.
        threading.Thread(target=self._work, args=(call, future), daemon=True).start()
        return future.result(seconds)

    def _work(self, call: Callable[[], T], future: futures.Future[T]) -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)
        finally:
            self._slots.release()
