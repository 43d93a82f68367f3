# SPDX-License-Identifier: Apache-2.0
"""One lab host with our service around it, for all tests here; it runs beside any other lab."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["LAB_RUN"] = str(Path(__file__).resolve().parents[2] / "lab/run/tests")

from lab.host import domains
from lab.stack import Stack
from tests.lab.world import OTHER_PROJECT, PROJECT, World


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    stack = Stack()
    try:
        stack.up()
        stack.start_agent()
        yield stack
    finally:
        stack.down()


@pytest.fixture(scope="session")
def servers(stack: Stack) -> dict[str, domains.Server]:
    """Two running servers of one project and one of another; they never leave their firmware."""
    return {
        "one": stack.create_server("one", PROJECT),
        "two": stack.create_server("two", PROJECT),
        "theirs": stack.create_server("theirs", OTHER_PROJECT),
    }


@pytest.fixture
def world(stack: Stack, servers: dict[str, domains.Server]) -> Iterator[World]:
    """Everything plugged, running and free, before each test and again after it."""
    world = World(stack, servers)
    yield world
    world.restore()
    assert world.hostdevs() == {name: [] for name in servers}
