# SPDX-License-Identifier: Apache-2.0
"""Steps that run in parallel, each reported in one line with its duration."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_LOG_TAIL_LINES = 25


class LabError(Exception):
    """Something in the lab failed.

    :param message: what failed, why, and what to do where that is known.
    :param log: the file whose end explains it.
    """

    def __init__(self, message: str, log: Path | None = None):
        super().__init__(message)
        self.log = log

    def explain(self) -> str:
        """The message and the end of the log, for a terminal."""
        if self.log is None or not self.log.exists():
            return str(self)
        tail = self.log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        return "\n".join([str(self), f"--- the end of {self.log}:", *tail])


class Timeline:
    """Runs steps as soon as the steps before them are done."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        # More than there are steps: one that waits for others holds its thread.
        self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=64)
        self._futures: list[concurrent.futures.Future[Any]] = []
        self._printing = threading.Lock()
        # What fails after the first failure only follows from it.
        self._failed = threading.Event()

    def say(self, text: str) -> None:
        """One line: the seconds since the beginning, and the text."""
        with self._printing:
            print(f"{time.monotonic() - self._began:7.1f} s  {text}", flush=True)

    def step(
        self, name: str, work: Callable[[], Any], *after: concurrent.futures.Future[Any]
    ) -> concurrent.futures.Future[Any]:
        """Do `work` in a thread once every step of `after` is done; a failed one fails this one as well."""

        def run() -> Any:
            for other in after:
                other.result()
            began = time.monotonic()
            try:
                result = work()
            except BaseException:
                if not self._failed.is_set():
                    self.say(f"FAILED: {name} ({time.monotonic() - began:.1f} s)")
                raise
            self.say(f"{name} ({time.monotonic() - began:.1f} s)")
            return result

        future = self._pool.submit(run)
        self._futures.append(future)
        return future

    def wait(self) -> None:
        """Until all steps are done.

        :raises Exception: that of the first step that failed.
        """
        try:
            for future in concurrent.futures.as_completed(self._futures):
                future.result()
        except BaseException:
            self._failed.set()
            raise

    def drain(self) -> None:
        """Until no step runs; those not begun never begin."""
        self._pool.shutdown(wait=True, cancel_futures=True)
