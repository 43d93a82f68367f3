# SPDX-License-Identifier: Apache-2.0
"""The programs that serve until they are told to stop, each as the process that it is."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from compute_shim import conf as configuration
from compute_shim.conf import database
from compute_shim.db import migrations
from compute_shim.db.api import Database

#: Seconds for whatever is waited for.
PATIENCE = 60

_CHECKOUT = Path(__file__).parents[2]
_MODULES = {"agent": "tests.functional.agent_here"}


class Program:
    """A program with a configuration file and a log of its own.

    :param name: of the module in `compute_shim.cmd`.
    """

    def __init__(self, name: str, directory: Path, text: str) -> None:
        self._file = directory / f"{name}.conf"
        self._log = directory / f"{name}.log"
        self._errors = directory / f"{name}.errors"
        self.configure(text)
        options = [f"--config-file={self._file}"]
        with self._log.open("wb") as log, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", _MODULES.get(name, f"compute_shim.cmd.{name}"), *options],
                cwd=_CHECKOUT,
                stdout=log,
                stderr=errors,
            )

    def configure(self, text: str) -> None:
        """Write the configuration file."""
        self._file.write_text(text)

    @property
    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text(errors="replace")

    @property
    def errors(self) -> str:
        """What it has written to stderr."""
        return self._errors.read_text(errors="replace")

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that it does."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log + self.errors
            time.sleep(0.05)

    def logs(self, text: str) -> None:
        """Wait until it has logged something."""
        self.wait_until(lambda: text in self.log)

    def end(self) -> int:
        """Wait until it has ended by itself; returns the exit code."""
        return self.process.wait(PATIENCE)

    def terminate(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def remove(self) -> None:
        """See to its end."""
        self.process.kill()
        self.process.wait()


def connection(url: str) -> str:
    """The section of a configuration file that names a database."""
    return f"[database]\nconnection = {url.replace('$', '$$')}\n"


def create_schema(directory: Path, url: str) -> str:
    """Bring a database up to date; returns the section of a configuration file that names it."""
    file = directory / "database.conf"
    file.write_text(connection(url))
    conf = configuration.load([f"--config-file={file}"])
    database.register(conf)
    migrations.upgrade(Database(conf))
    return connection(url)
