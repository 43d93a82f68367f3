# SPDX-License-Identifier: Apache-2.0
"""The installation guide, followed by its text alone on bare machines of Debian 12.

The blocks of the page are run in their order; `tests.deploy.guide` says on which machine, and what readers
put in. The tests are one life and run in this order.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy import cloud, guide
from tests.deploy.conftest import PACKAGES, Start
from tests.deploy.guide import COMPUTE, CONTROLLER, Step
from tests.deploy.machine import Machine
from tests.deploy.reader import BLOCKS, Reader

_SOURCE = Path(__file__).parents[2]
_RUN = [
    pytest.param(step, block.text, id=f"{number}-{block.section}")
    for number, (step, block) in enumerate(zip(guide.STEPS, BLOCKS, strict=True))
    if not step.not_run
]
_WHEEL = "openstack_usb_passthrough-1.0.0-py3-none-any.whl"
_FIRST_ON_COMPUTE = next(step for step in guide.STEPS if step.on == COMPUTE)


@pytest.fixture(scope="module")
def controller(start: Start, controller_layers: list[Path]) -> Machine:
    machine = start(CONTROLLER, controller_layers)
    repository = machine.root / guide.REPOSITORY.removeprefix("/")
    subprocess.run(["git", "clone", "--quiet", "--bare", _SOURCE, repository], check=True)
    return machine


@pytest.fixture(scope="module")
def compute(start: Start) -> Machine:
    machine = start(COMPUTE)
    # Which a compute host has.
    machine.install("libvirt-daemon-system", "qemu-system-x86")
    return machine


@pytest.fixture(scope="module")
def reader(controller: Machine, compute: Machine) -> Reader:
    return Reader(controller, compute, cloud.ADMIN)


@pytest.mark.parametrize(("step", "text"), _RUN)
def test_a_block(step: Step, text: str, reader: Reader, controller: Machine, compute: Machine) -> None:
    if step is _FIRST_ON_COMPUTE:
        # As the guide says: build it once, and copy it to each host.
        shutil.copy(controller.root / "root" / _WHEEL, compute.root / "root" / _WHEEL)
    if ".deb" in text:
        copy_packages(controller, compute)
    reader.follow(step, text)


def copy_packages(*machines: Machine) -> None:
    for machine in machines:
        for package in PACKAGES.glob("*.deb"):
            shutil.copy(package, machine.root / "root")


def test_with_the_packages_it_continues_as_above(reader: Reader, controller: Machine) -> None:
    reader.continue_with_packages(guide.BLIND_PACKAGE)
    reader.follow(guide.CHECK)
    assert COMPUTE in controller.run(
        "/usr/lib/usb-shim-client/bin/openstack", "usb", "host", "list", environment=cloud.ADMIN
    )
