# SPDX-License-Identifier: Apache-2.0
"""The installation guide, followed by its text alone on bare machines of Debian 12.

The blocks of the page are run in their order; `tests.deploy.guide` says on which machine, and what readers
put in. The tests are one life and run in this order.
"""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy import blocks, cloud, guide
from tests.deploy.conftest import PACKAGES, Start
from tests.deploy.guide import COMPUTE, CONTROLLER, Step
from tests.deploy.machine import Machine

_SOURCE = Path(__file__).parents[2]
_BLOCKS = blocks.read(guide.PAGE)
_RUN = [
    pytest.param(step, block.text, id=f"{number}-{block.section}")
    for number, (step, block) in enumerate(zip(guide.STEPS, _BLOCKS, strict=True))
    if not step.not_run
]
_WHEEL = "openstack_usb_passthrough-1.0.0-py3-none-any.whl"
_FIRST_ON_COMPUTE = next(step for step in guide.STEPS if step.on == COMPUTE)


class Reader:
    """Follows the guide on two machines, in one shell on each, as the administrator of the cloud."""

    def __init__(self, controller: Machine, compute: Machine) -> None:
        self.machines = {CONTROLLER: controller, COMPUTE: compute}
        self._directory = dict.fromkeys(self.machines, "/root")

    def follow(self, step: Step, text: str) -> None:
        """Do with a block what the step says."""
        for word, own in step.own.items():
            text = text.replace(word, own)
        for name in filter(None, (step.on, step.also_on)):
            if step.before:
                self._shell(name, step.before)
            if step.file:
                # As an editor, which keeps owner and mode.
                self.machines[name].run("tee", step.file, text=text)
            elif step.program:
                self.machines[name].run(step.program, text=text)
            else:
                assert step.says in self._shell(name, text, step.status)

    def _shell(self, name: str, text: str, status: int = 0) -> str:
        machine = self.machines[name]
        script = f"cd {self._directory[name]}\ntrap 'pwd >/run/here' EXIT\n{text}"
        done = machine.try_run("bash", "-e", "-c", script, environment=cloud.ADMIN)
        assert done.returncode == status, f"{name}:\n{text}\n{done.stdout}"
        self._directory[name] = machine.run("cat", "/run/here").strip()
        return done.stdout


@pytest.fixture(scope="module")
def reader(start: Start, controller_layers: list[Path]) -> Reader:
    controller = start(CONTROLLER, controller_layers)
    repository = controller.root / guide.REPOSITORY.removeprefix("/")
    subprocess.run(["git", "clone", "--quiet", "--bare", _SOURCE, repository], check=True)
    compute = start(COMPUTE)
    # Which a compute host has.
    compute.install("libvirt-daemon-system", "qemu-system-x86")
    return Reader(controller, compute)


def copy_wheel(reader: Reader) -> None:
    """As the guide says: build it once, and copy it to each host."""
    controller, compute = (reader.machines[name].root / "root" for name in (CONTROLLER, COMPUTE))
    shutil.copy(controller / _WHEEL, compute / _WHEEL)


def copy_packages(reader: Reader) -> None:
    for machine in reader.machines.values():
        for package in PACKAGES.glob("*.deb"):
            shutil.copy(package, machine.root / "root")


@pytest.mark.parametrize(("step", "text"), _RUN)
def test_a_block(step: Step, text: str, reader: Reader) -> None:
    if step is _FIRST_ON_COMPUTE:
        copy_wheel(reader)
    if ".deb" in text:
        copy_packages(reader)
    reader.follow(step, text)


def test_with_the_packages_it_continues_as_above(reader: Reader) -> None:
    texts = dict(zip(guide.STEPS, (block.text for block in _BLOCKS), strict=True))
    for step in (guide.DATABASE, guide.IDENTITY, guide.FILE, guide.CONFIGURATION, guide.TABLES):
        reader.follow(step, texts[step])
    reader.follow(
        Step("", says="OK"),
        "systemctl enable --now usb-shim-conductor usb-shim-api\ncurl http://127.0.0.1:9815/healthcheck/deep\n",
    )
    reader.follow(dataclasses.replace(guide.FILE, on=COMPUTE), texts[guide.FILE])
    reader.follow(guide.COMPUTE_CONFIGURATION, texts[guide.COMPUTE_CONFIGURATION])
    reader.follow(
        Step("", COMPUTE, before=guide.BLIND_PACKAGE),
        "systemctl enable --now usb-shim-agent\nsystemctl is-active usb-shim-agent\n",
    )
    reader.follow(guide.CHECK, texts[guide.CHECK])
    assert COMPUTE in reader.machines[CONTROLLER].run(
        "/usr/lib/usb-shim-client/bin/openstack", "usb", "host", "list", environment=cloud.ADMIN
    )
