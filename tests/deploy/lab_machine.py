# SPDX-License-Identifier: Apache-2.0
"""A compute host of the lab's cloud with a Debian 12 of its own: systemd, AppArmor, libvirt, USB devices."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from lab.cloud import compute_host
from lab.host import Host, machine
from lab.host.machine import System
from lab.paths import ROOT, RUN
from tests.deploy import enter_lab
from tests.deploy.place import Place

# An emulated processor unpacks packages.
_SECONDS = 1800
_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "HOME": "/root", "LC_ALL": "C.UTF-8"}


def make_place_for_python(root: Path) -> None:
    """Where `system` puts the Python of this machine, if that is not Debian's own."""
    (root / sys.base_prefix.removeprefix("/")).mkdir(parents=True, exist_ok=True)


def system(root: Path) -> System:
    """What a host boots, from the files of a Debian 12.

    The lab's programs in it use the Python of this machine.
    """
    if Path(sys.base_prefix) != Path("/usr"):
        there = root / sys.base_prefix.removeprefix("/")
        subprocess.run(["mount", "--bind", sys.base_prefix, there], check=True)
    return System(root, machine.CODE / "systemd-init.sh")


class LabMachine(Place):
    """It runs until `stop`.

    :ivar name: also of nova-compute's host.
    :ivar root: its files, as they were when it was started.
    """

    def __init__(self, name: str, files: System) -> None:
        """Start it, and wait until systemd has started what is enabled."""
        self.name = name
        self.root = files.root
        self._host = Host(name)
        compute_host.start(name, files, agent=False)
        compute_host.wait_ready(name)
        self.run("systemctl", "is-system-running", "--wait")

    @property
    def enter(self) -> list[str]:
        """As `tests.deploy.machine.Machine.enter`."""
        here = (f"PYTHONPATH={ROOT}", f"LAB_RUN={RUN}", sys.executable, "-m", enter_lab.__name__, self.name)
        return ["env", *here, "env", *(f"{name}={value}" for name, value in _ENVIRONMENT.items())]

    def try_run(
        self, *command: str, environment: Mapping[str, str] | None = None, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        settings = {**_ENVIRONMENT, **(environment or {})}
        words = ["env", *(f"{name}={value}" for name, value in settings.items()), *command]
        script = 'exec "$@" 2>&1'
        return self._host.run(
            ["bash", "-c", script, "bash", *words], stdin=text or "", timeout=_SECONDS, check=False
        )

    def stop(self) -> None:
        """Switch it off."""
        self._host.stop()
