# SPDX-License-Identifier: Apache-2.0
"""Exponential back-off for repeated checks."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable

# Multiple of the shortest pause.
_LONGEST = 8


class BackOff:
    """The time of the next check for each key. A changed item has a new key and is due immediately.

    :param pause: seconds after the first check without news; doubles each time, up to eight times as much.
    """

    def __init__(self, pause: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause = pause
        self._clock = clock
        self._next: dict[Hashable, tuple[float, float]] = {}

    def is_due(self, key: Hashable) -> bool:
        """Whether a key is due."""
        return self._clock() >= self._next.get(key, (float("-inf"), 0.0))[0]

    def no_news(self, key: Hashable) -> None:
        """Record a check without news."""
        pause = min(2 * self._next.get(key, (0.0, 0.0))[1] or self._pause, _LONGEST * self._pause)
        self._next[key] = (self._clock() + pause, pause)

    def news(self, key: Hashable) -> None:
        """Record a check with news: the next one is due immediately."""
        self._next.pop(key, None)

    def keep(self, keys: Collection[Hashable]) -> None:
        """Forget all other keys."""
        self._next = {key: value for key, value in self._next.items() if key in keys}
