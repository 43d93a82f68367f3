# SPDX-License-Identifier: Apache-2.0
"""What is asked again and again without news is asked less and less often."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable

# Times the shortest pause.
_LONGEST = 8


class BackOff:
    """When each of some things is to be looked at next. A thing that changed is another key, and due at once.

    :param pause: seconds after the first look without news; doubles with each one, up to eight times as much.
    """

    def __init__(self, pause: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause = pause
        self._clock = clock
        self._next: dict[Hashable, tuple[float, float]] = {}

    def is_due(self, key: Hashable) -> bool:
        """Whether this one is due."""
        return self._clock() >= self._next.get(key, (float("-inf"), 0.0))[0]

    def no_news(self, key: Hashable) -> None:
        """Nothing came of a look."""
        pause = min(2 * self._next.get(key, (0.0, 0.0))[1] or self._pause, _LONGEST * self._pause)
        self._next[key] = (self._clock() + pause, pause)

    def news(self, key: Hashable) -> None:
        """Something came of a look: the next one is due at once."""
        self._next.pop(key, None)

    def keep(self, keys: Collection[Hashable]) -> None:
        """Forget all others."""
        self._next = {key: value for key, value in self._next.items() if key in keys}
