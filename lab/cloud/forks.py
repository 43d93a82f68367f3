# SPDX-License-Identifier: Apache-2.0
"""Commands of one OpenStack management program, run as forks of one process that has imported it.

Importing such a program takes some seconds and most of what a command of it costs.

    python -m lab.cloud.forks MODULE

imports MODULE, then reads commands from its standard input, each a JSON list of words, runs ``main()`` of the
module in a fork with those as ``sys.argv``, and answers each with the exit status on a line of its own.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from lab.cloud.process import Processes
from lab.cloud.timeline import LabError


class Forks:
    """A loaded management program. It ends when this process does."""

    def __init__(self, name: str, module: str, processes: Processes):
        """Begin to load `module`.

        :param name: of the program, such as nova-manage.
        """
        self._name = name
        self._processes = processes
        self._running = threading.Lock()
        answers, its_end = os.pipe()
        self._process = processes.open(
            name,
            [sys.executable, "-m", __name__, module, str(its_end)],
            # nova-manage still starts with eventlet, which forks badly.
            {"OS_NOVA_DISABLE_EVENTLET_PATCHING": "1"},
            stdin=subprocess.PIPE,
            pass_fds=[its_end],
        )
        os.close(its_end)
        self._answers = os.fdopen(answers)

    def run(self, *words: str | Path) -> None:
        """Run one command of the program.

        :raises LabError: it failed
        """
        command = [self._name, *(str(word) for word in words)]
        with self._running:
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(json.dumps(command) + "\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                raise LabError(f"{self._name} does not start", self._processes.log(self._name)) from None
            answer = self._answers.readline()
        if answer != "0\n":
            raise LabError(f"{' '.join(command)} failed", self._processes.log(self._name))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._answers.close()
        self._processes.forget(self._name)


def _serve(module: str, answers: IO[str]) -> None:
    program = importlib.import_module(module)
    for line in sys.stdin:
        words = json.loads(line)
        print("$", *words, flush=True)
        child = os.fork()
        if child == 0:
            sys.argv = words
            try:
                status = program.main() or 0
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else int(end.code is not None)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)
        _, waited = os.waitpid(child, 0)
        answers.write(f"{os.waitstatus_to_exitcode(waited)}\n")
        answers.flush()


if __name__ == "__main__":
    _serve(sys.argv[1], os.fdopen(int(sys.argv[2]), "w"))
