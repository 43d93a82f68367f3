# SPDX-License-Identifier: Apache-2.0
"""How long the work that this thread does may take, all of it together.

Known to the thread and not passed on by every function, because it limits what is far below a request: one
more try of a transaction, one more call of Nova. Where nobody set a limit there is none.
"""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Iterator

from compute_shim import exception
from novaclient_usb.reason_codes import ReasonCode

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
