# SPDX-License-Identifier: Apache-2.0
"""The signals of a process, taken one after the other by its main thread.

A handler of Python runs between any two instructions of the main thread, also inside another handler, and
must not take a lock there (`threading.Event.set` does). So the handlers here do nothing. The interpreter's
own handler writes the signal's number into a pipe (`signal.set_wakeup_fd`), which is safe at any moment and
in any thread (signal-safety(7)), and the main thread reads it. No signal is blocked, so no child inherits a
mask.
"""

from __future__ import annotations

import os
import signal

TAKEN = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
_WAKE = b"\0"  # no signal has this number


class Signals:
    """Takes the signals from now on. To be created by the main thread, before there is any other."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()  # not inherited by programs that are executed (PEP 446)
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in TAKEN:
            signal.signal(number, _ignore)

    def wait(self) -> int:
        """The number of the next signal, 0 after `wake`."""
        return os.read(self._reader, 1)[0]

    def wake(self) -> None:
        """Let `wait` return. May be called by any thread."""
        os.write(self._writer, _WAKE)

    def ignore(self) -> None:
        """Take no more of them. At its end the interpreter makes those deadly again that have a handler."""
        for number in TAKEN:
            signal.signal(number, signal.SIG_IGN)


def _ignore(number: int, frame: object) -> None:
    """A signal without a handler of Python would not be written into the pipe."""
