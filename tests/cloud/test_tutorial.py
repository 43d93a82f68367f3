# SPDX-License-Identifier: Apache-2.0
"""The commands of the tutorial, in its order, by its text."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

from lab.cloud import config
from lab.cloud.process import wait_until
from lab.paths import ROOT
from tests.cloud.conftest import Cloud
from tests.deploy import blocks

_PAGE = ROOT / "doc/source/tutorial.rst"
# They make the cloud, which is there, and end it.
_OF_THE_CLOUD = {"apt-get update && apt-get install -y make git      # if not already installed"}
_OF_THE_CLOUD |= {"make demo", "make demo-down"}
_SECONDS = 120


@dataclasses.dataclass(frozen=True)
class Shown:
    """What a command has to show.

    :param texts: are in its output, if need be when it has been given a few times.
    :param refused: it ends with an error.
    """

    texts: tuple[str, ...] = ()
    refused: bool = False


def shown(*texts: str) -> Shown:
    return Shown(texts)


READER = "08e6:4433"
EXPECTED = [
    ("nova usb-list --server demo", shown("LABSTICK01", READER, "available")),
    ("nova usb-attach --wait demo LABSTICK01", shown("attached")),
    ("openstack usb device list --server demo", shown("46f4:0001", READER, "attached")),
    ("nova usb-attach demo2 LABSTICK01", Shown(("in use",), refused=True)),
    ("openstack usb device explain LABSTICK01 --server demo2", shown("another server has the device")),
    ("nova usb-detach --wait demo LABSTICK01", shown()),
    (f"openstack server add usb device --wait demo {READER}", shown()),
    ("openstack server usb device list demo", shown(READER, "attached")),
    ("python -m lab guest usb demo", shown(READER)),
    ("python -m lab host run -- lsusb", shown(READER)),
    ("nova usb-attach --wait demo LABSTICK01", shown("attached")),
    ("python -m lab host unplug stick1", shown()),
    ("openstack server usb device list demo", shown("waiting")),
    ("python -m lab host plug stick1", shown()),
    ("openstack server usb device list demo", shown("46f4:0001", "attached")),
    ("openstack usb device list", shown("46f4:0001")),
    ("openstack usb device list --long", shown("46f4:0001", "usbhost1")),
    ("openstack usb host list", shown("usbhost1", "up")),
]


def test_the_tutorial(cloud: Cloud, booted: None) -> None:
    user = f"source {os.path.relpath(config.openrc('demo'), ROOT)}"
    given: list[str] = []
    expected = iter(EXPECTED)
    for line in _lines(_PAGE):
        if line.startswith("source lab/run/openrc-"):
            user = line.replace("lab/run", os.path.relpath(config.openrc("demo").parent, ROOT))
            continue
        given.append(line)
        command, result = next(expected, ("", Shown()))
        assert line == command
        _give(cloud, user, line, result)
    assert [command for command, _ in EXPECTED] == given


def _lines(page: Path) -> list[str]:
    """The commands of a page, but for those that make the cloud."""
    found = [line for block in blocks.read(page) for line in block.text.splitlines()]
    return [line for line in found if line not in _OF_THE_CLOUD]


def _give(cloud: Cloud, user: str, line: str, result: Shown) -> None:
    """Give a command in a shell, as a reader does, until it shows what it has to."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.CompletedProcess[str]([], 0)

    def is_shown() -> bool:
        nonlocal done
        done = subprocess.run(
            ["bash", "-c", f"{user} && {line}"],
            cwd=ROOT,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
        assert (done.returncode != 0) == result.refused, f"{line}: {done.stdout}{done.stderr}"
        return all(text in done.stdout + done.stderr for text in result.texts)

    try:
        wait_until(is_shown, f"{line} does not show {result.texts}", _SECONDS, cloud.host.running, every=1)
    except Exception as error:
        error.add_note(done.stdout + done.stderr)
        raise
