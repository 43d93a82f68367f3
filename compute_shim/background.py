# SPDX-License-Identifier: Apache-2.0
"""Work that nobody waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from oslo_log import log

LOG = log.getLogger(__name__)

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

# While whatever the work needs is away.
_LONGEST_QUEUE = 1000


class Background(Generic[_Key, _Value]):
    """Does one piece of work after the other on a thread of its own.

    The thread starts with the first piece: a WSGI server may fork before that. It ends with the process, and
    what is in the queue then is lost.

    :param name: of the thread.
    :param work: does one piece; an exception is logged.
    """

    def __init__(self, name: str, work: Callable[[_Key, _Value], None]) -> None:
        self._name = name
        self._work = work
        self._changed = threading.Condition()
        self._queue: dict[_Key, _Value] = {}
        self._thread: threading.Thread | None = None

    def put(self, key: _Key, value: _Value) -> bool:
        """Have a piece of work done; it takes the place of one of the same key that is not begun.

        :returns: False if there is too much to do: it will not be done
        """
        with self._changed:
            if len(self._queue) >= _LONGEST_QUEUE and key not in self._queue:
                return False
            self._queue[key] = value
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify()
            return True

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue)
                key = next(iter(self._queue))
                value = self._queue.pop(key)
            try:
                self._work(key, value)
            except Exception:
                LOG.exception("Unexpected error in thread %s", self._name)
