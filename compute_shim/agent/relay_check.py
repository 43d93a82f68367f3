# SPDX-License-Identifier: Apache-2.0
"""Whether relays can work on this host: what would end one is told before a device needs it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from compute_shim.agent import relay_process
from compute_shim.agent.relay_process import Options

# For what takes a fraction of a second.
_TIMEOUT = 30.0
# Seconds before what was wrong is checked again.
_PAUSE = 60.0

_Stamps = list[tuple[int, int]]


class RelayCheck:
    """Starts a relay that only looks for what it needs, as the user of relays and without privileges.

    :param options: None: this host does not take part.
    :param clock: monotonic time in seconds.
    """

    def __init__(self, options: Options | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._clock = clock
        self._problems: list[str] = []
        self._checked: tuple[_Stamps, float] | None = None

    def problems(self) -> list[str]:
        """What the operator of this host has to fix, one sentence each.

        It is checked at first, when a file has changed, and once a minute as long as something is wrong.
        """
        if self._options is None:
            return []
        try:
            stamps = [_stamp(file) for file in self._options.files.values()]
        except OSError:
            # `compute_shim.agent.certificate` tells of a file that is not there.
            return []
        if self._is_due(stamps):
            self._problems = [_sentence(problem, self._options) for problem in _check(self._options)]
            self._checked = stamps, self._clock()
        return self._problems

    def _is_due(self, stamps: _Stamps) -> bool:
        if self._checked is None:
            return True
        before, at = self._checked
        return stamps != before or (bool(self._problems) and self._clock() - at >= _PAUSE)


def _stamp(file: str) -> tuple[int, int]:
    """Changes with the file's owner and mode, too."""
    found = Path(file).stat()
    return found.st_ino, found.st_ctime_ns


def _check(options: Options) -> list[str]:
    arguments = ["check", *(f"--{name}={file}" for name, file in options.files.items())]
    try:
        done = subprocess.run(
            relay_process.command(arguments, *relay_process.ids(options.user)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            cwd="/",
            env=relay_process.environment(),
            timeout=_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [str(error)]
    if done.returncode != 0:
        # The last line of a traceback is the reason.
        lines = done.stderr.splitlines()
        return [lines[-1] if lines else f"exit status {done.returncode}"]
    return done.stdout.splitlines()


def _sentence(problem: str, options: Options) -> str:
    return (
        f"A connection of [network_usb] would fail, as user {options.user}: {problem}. See Devices over the"
        " network, in the administration guide."
    )
