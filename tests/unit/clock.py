# SPDX-License-Identifier: Apache-2.0
"""A clock that goes as it is told."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from oslo_utils import timeutils


class Clock:
    """Tells a time that only changes by `jump`."""

    # The function that it replaces, which the defaults of columns call, looks for it under its own name.
    override_time = None

    def __init__(self) -> None:
        self.now = timeutils.utcnow()

    def __call__(self) -> datetime.datetime:
        return self.now

    def jump(self, seconds: float) -> None:
        """Forward, or back."""
        self.now += datetime.timedelta(seconds=seconds)


@contextmanager
def clock() -> Iterator[Clock]:
    """Whoever asks for the time meanwhile asks this clock; the defaults of database columns do not ask."""
    told = Clock()
    with mock.patch.object(timeutils, "utcnow", told):
        yield told
