# SPDX-License-Identifier: Apache-2.0
"""Machines for the tests: what they start from is made once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_CHECKOUT = Path(__file__).parents[2]
# What is imported below reads it: the lab's cloud, for one file.
os.environ["LAB_RUN"] = str(_CHECKOUT / "lab/run/deploy")

from tests.deploy import cloud  # noqa: E402
from tests.deploy.machine import Machine, Network, create_base  # noqa: E402

PACKAGES = _CHECKOUT / "dist/deb"

Start = Callable[..., Machine]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The files of a bare Debian 12."""
    directory = tmp_path_factory.mktemp("base")
    try:
        create_base(directory)
        yield directory
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def controller_layers(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """The same with MariaDB, RabbitMQ, memcached, Keystone and Nova's API."""
    directory = tmp_path_factory.mktemp("cloud")
    network = Network()
    try:
        machine = Machine("controller", directory, [base], network)
        try:
            cloud.install(machine)
        except BaseException:
            machine.kill()
            raise
        machine.stop()
        yield [machine.changes, base]
    finally:
        network.remove()
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def start(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts a machine, by its name and the layers that it begins with; until the last test of the file."""
    network = Network()
    directory = tmp_path_factory.mktemp("machines")
    machines = []

    def begin(name: str, layers: list[Path] | None = None) -> Machine:
        machines.append(Machine(name, directory / name, layers or [base], network))
        return machines[-1]

    try:
        yield begin
    finally:
        for machine in machines:
            machine.kill()
        network.remove()
        shutil.rmtree(directory)
