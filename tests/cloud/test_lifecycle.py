# SPDX-License-Identifier: Apache-2.0
"""What Nova does to a server, its stick survives, and nobody asks for it again; a deleted one gives it back.

The guests of most servers here do nothing: what QEMU has open does not depend on the guest.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator

import pytest

from lab.cloud import services
from lab.cloud.process import Processes
from lab.cloud.site import COMPUTE_HOST, LOG, PIDS
from tests.cloud import agent
from tests.cloud.conftest import Cloud
from tests.cloud.servers import ATTACHED, FREE, OFF, SHELVED, UNPLUGGED, Server, State, running

Act = Callable[[Server], None]


@pytest.fixture(scope="module")
def server(cloud: Cloud) -> Iterator[Server]:
    with running(cloud, "lifecycle") as server:
        yield server


@pytest.fixture
def mortal(cloud: Cloud) -> Iterator[Server]:
    """A server of the test's own, to be deleted."""
    with running(cloud, f"mortal-{uuid.uuid4()}") as server:
        yield server


@pytest.mark.parametrize(
    ("there", "status", "meanwhile", "back"),
    [
        (Server.reboot_hard, "ACTIVE", ATTACHED, None),
        (Server.stop, "SHUTOFF", OFF, Server.start),
        (Server.suspend, "SUSPENDED", OFF, Server.resume),
        (Server.pause, "PAUSED", ATTACHED, Server.unpause),
        (Server.rescue, "RESCUE", ATTACHED, Server.unrescue),
        (Server.rebuild, "ACTIVE", ATTACHED, None),
        (Server.shelve, "SHELVED_OFFLOADED", SHELVED, Server.unshelve),
    ],
    ids=["hard reboot", "stop", "suspend", "pause", "rescue", "rebuild", "shelve"],
)
def test_the_stick_comes_back_by_itself(
    server: Server, there: Act, status: str, meanwhile: State, back: Act | None
) -> None:
    server.attach()
    there(server)
    server.wait_status(status)
    server.wait_stick(meanwhile)
    if back is not None:
        back(server)
        server.wait_status("ACTIVE")
    server.wait_stick(ATTACHED)
    assert server.holds_the_stick()
    assert server.hostdevs() == 1


def test_a_stick_that_is_pulled_out_does_not_stop_the_server_from_rebooting(
    cloud: Cloud, server: Server
) -> None:
    """What the author of the first request for all this was bitten by."""
    server.attach()
    cloud.host.unplug("stick2")
    try:
        server.wait_stick(UNPLUGGED)
        server.wait_hostdevs(0, COMPUTE_HOST)
        # Nova starts a server that is off in the same way.
        server.reboot_hard()
        server.wait_status("ACTIVE")
        server.wait_stick(UNPLUGGED)
    finally:
        cloud.host.plug("stick2")
    server.wait_stick(ATTACHED)
    assert server.holds_the_stick()


def test_attach_and_detach_while_shut_off(server: Server) -> None:
    server.stop()
    server.wait_status("SHUTOFF")
    server.claim()
    server.wait_stick(OFF)
    server.detach()
    server.wait_stick(FREE)
    server.claim()
    server.wait_stick(OFF)
    server.start()
    server.wait_status("ACTIVE")
    server.wait_stick(ATTACHED)
    assert server.holds_the_stick()

    server.stop()
    server.wait_status("SHUTOFF")
    server.detach()
    server.wait_stick(FREE)
    assert server.hostdevs() == 0
    server.start()
    server.wait_status("ACTIVE")


@contextlib.contextmanager
def everything_runs(cloud: Cloud) -> Iterator[None]:
    yield


@contextlib.contextmanager
def agent_is_dead(cloud: Cloud) -> Iterator[None]:
    agent.kill(cloud.host)
    yield
    agent.start(cloud.host)


@contextlib.contextmanager
def conductor_is_dead(cloud: Cloud) -> Iterator[None]:
    processes = Processes(PIDS, LOG)
    processes.stop("usb-shim-conductor")
    yield
    services.start_usb_shim_conductor(processes)


@pytest.mark.parametrize(
    ("delete", "meanwhile"),
    [
        (Server.delete, everything_runs),
        (Server.force_delete, everything_runs),
        (Server.delete, agent_is_dead),
        (Server.force_delete, conductor_is_dead),
    ],
    ids=["delete", "force-delete", "delete while the agent is dead", "force-delete without a conductor"],
)
def test_a_deleted_server_gives_its_stick_back(
    cloud: Cloud,
    mortal: Server,
    delete: Act,
    meanwhile: Callable[[Cloud], contextlib.AbstractContextManager[None]],
) -> None:
    mortal.attach()
    with meanwhile(cloud):
        delete(mortal)
        mortal.wait_gone()
    mortal.wait_stick(FREE)
    assert not mortal.is_known_to(cloud.host.name)
