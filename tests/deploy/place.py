# SPDX-License-Identifier: Apache-2.0
"""What the machines of these tests have in common, containers and virtual ones."""

from __future__ import annotations

import abc
import subprocess
from collections.abc import Mapping


class Place(abc.ABC):
    """A machine in which programs are run.

    :ivar name: of the machine.
    """

    name: str

    @abc.abstractmethod
    def try_run(
        self, *command: str, environment: Mapping[str, str] | None = None, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program there, as root; what it says, on either stream.

        :param environment: more variables for it.
        :param text: its standard input.
        """

    def run(
        self, *command: str, environment: Mapping[str, str] | None = None, text: str | None = None
    ) -> str:
        """As `try_run`, of a program that must succeed; what it says."""
        done = self.try_run(*command, environment=environment, text=text)
        assert done.returncode == 0, f"{self.name}: {' '.join(command)}\n{done.stdout}"
        return done.stdout
