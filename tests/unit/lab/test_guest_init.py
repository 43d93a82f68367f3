# SPDX-License-Identifier: Apache-2.0
"""The list that the guest's init prints of its USB devices."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.guest import console

_INIT = Path(__file__).resolve().parents[3] / "lab/guest/init.sh"
_PATIENCE = 60


class Guest:
    """A guest's files, and the part of its init that watches them."""

    def __init__(self, root: Path) -> None:
        self.nodes, self.devices = root / "dev/bus/usb/001", root / "sys/bus/usb/devices"
        self._said = root / "console"
        self.nodes.mkdir(parents=True)
        (self.devices / "usb1").mkdir(parents=True)
        text = _INIT.read_text()
        functions = text[text.index("# Sets $text") : text.index("wait_for_button()")]
        loop = text[text.index("mkfifo /never") :]
        script = (functions + loop).replace("/never", f"{root}/never")
        for place in ("/dev/bus", "/sys/bus"):
            script = script.replace(place, f"{root}{place}")
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(["busybox", "sh", "-c", script], stdout=said)

    def plug(self) -> None:
        """A device comes, as Linux makes it known: first in sysfs, then its node."""
        directory = self.devices / "1-1"
        directory.mkdir()
        for name, value in {"idVendor": "46f4", "idProduct": "0001", "serial": "A", "product": "B"}.items():
            (directory / name).write_text(f"{value}\n")
        (self.nodes / "002").touch()

    def printed(self) -> int:
        """How many lists it has printed."""
        return self._said.read_text().count("\n")

    def wait_for_list(self, *devices: str) -> None:
        """Until the last list that it has printed is this one."""
        self.wait(lambda: console.usb_devices(self._said.read_text()) == list(devices))

    def wait(self, true: Callable[[], bool]) -> None:
        """Wait until it is so."""
        deadline = time.monotonic() + _PATIENCE
        while not true():
            assert time.monotonic() < deadline, self._said.read_text()
            time.sleep(0.05)


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    """A guest without devices."""
    guest = Guest(tmp_path)
    yield guest
    guest.process.kill()
    guest.process.wait()


def test_the_last_list_is_never_stale(guest: Guest) -> None:
    """A device's node goes before its entry in sysfs does."""
    guest.plug()
    guest.wait_for_list("46f4:0001 A B")
    printed = guest.printed()
    (guest.nodes / "002").unlink()
    guest.wait(lambda: guest.printed() > printed)
    guest.wait_for_list("46f4:0001 A B")
    for file in (guest.devices / "1-1").iterdir():
        file.unlink()
    (guest.devices / "1-1").rmdir()
    guest.wait_for_list()
