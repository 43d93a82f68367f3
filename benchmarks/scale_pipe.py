# SPDX-License-Identifier: Apache-2.0
"""A script of this directory that answers each line with a number, in a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from lab.paths import ROOT


@contextlib.contextmanager
def numbers(python: Path, script: str, *arguments: str) -> Iterator[Callable[[str], float]]:
    """Asks the script, and returns what it answers.

    :param python: the interpreter of a virtualenv.
    """
    command = [str(python), "-W", "ignore", str(ROOT / "benchmarks" / script), *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    questions, answers = process.stdin, process.stdout
    assert questions is not None and answers is not None

    def ask(line: str) -> float:
        print(line, file=questions, flush=True)
        answer = answers.readline()
        if not answer:
            raise RuntimeError(f"{script} has ended")
        return float(answer)

    try:
        yield ask
    finally:
        questions.close()
        process.wait()
