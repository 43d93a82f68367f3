# SPDX-License-Identifier: Apache-2.0
"""One lab host with our service around it, for all tests here; it runs beside any other lab."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

# With another name in LAB_TESTS a second run of other tests goes on beside the first.
_RUN = Path(__file__).resolve().parents[2] / "lab/run" / os.environ.get("LAB_TESTS", "tests")
os.environ["LAB_RUN"] = str(_RUN)

from lab.host import Host, HostError, domains  # noqa: E402  what follows reads LAB_RUN
from lab.paths import RUN  # noqa: E402
from lab.stack import Stack  # noqa: E402
from lab.stack_agent import Agent  # noqa: E402
from lab.stack_nova import OTHER_HOSTS  # noqa: E402
from tests.lab import network  # noqa: E402
from tests.lab.world import OTHER_PROJECT, PROJECT, World  # noqa: E402
from tests.pki import Authority  # noqa: E402

assert RUN == _RUN, "tests/lab needs a process of its own: something else has set up another lab in this one"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the agent had to say when a test failed."""
    report = yield
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.failed and stack is not None:
        # A host that has died or has no log yet is no reason to end the whole run.
        with contextlib.suppress(HostError, subprocess.SubprocessError):
            report.sections.append(("the agent's log", stack.agent.log()))
    return report


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    stack = Stack(quick=True)
    try:
        stack.up()
        stack.agent.start()
        yield stack
    finally:
        stack.down()


@pytest.fixture(scope="session")
def servers(stack: Stack) -> dict[str, domains.Server]:
    """Two running servers of one project and one of another; their guests do nothing."""
    return {
        "one": stack.create_server("one", PROJECT),
        "two": stack.create_server("two", PROJECT),
        "theirs": stack.create_server("theirs", OTHER_PROJECT),
    }


@pytest.fixture
def world(stack: Stack, servers: dict[str, domains.Server]) -> Iterator[World]:
    """Everything plugged, running and free, before each test and again after it."""
    world = World(stack, stack.host, servers)
    yield world
    world.restore()
    stack.forget_history()
    assert world.hostdevs() == {name: [] for name in servers}


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs the certificates of the lab hosts."""
    return Authority(tmp_path_factory.mktemp("pki"), "authority")


@pytest.fixture(scope="session")
def second_agent(stack: Stack, authority: Authority) -> Iterator[Agent]:
    """A second host with the same sticks in the same ports. Both take part in the network transport."""
    second = stack.boot_other_host(OTHER_HOSTS[0])
    stack.agent.stop()
    for agent in (stack.agent, second):
        network.start(agent, authority)
    yield second
    second.host.stop()


@pytest.fixture
def second(second_agent: Agent) -> Host:
    """The second host."""
    return second_agent.host


@pytest.fixture
def elsewhere(world: World, second: Host) -> World:
    """The second host and its devices."""
    return World(world.stack, second, world.servers)
