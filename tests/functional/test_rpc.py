# SPDX-License-Identifier: Apache-2.0
"""Agent and conductor on one message bus, which is in this process."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import oslo_messaging
import pytest
import sqlalchemy as sa

from compute_shim import conf as configuration
from compute_shim import rpc, wire
from compute_shim.db import models, queries
from compute_shim.objects import Claim, ClaimStatus, Server, State
from tests.functional import statements
from tests.functional.world import SERVERS, STICKS, World


@pytest.fixture
def bus(tmp_path: Path) -> oslo_messaging.Transport:
    """A bus of our own: what a name on it means to one test it means to no other."""
    file = tmp_path / "bus.conf"
    file.write_text(f"[DEFAULT]\ntransport_url = fake:///\ncontrol_exchange = {tmp_path.name}\n")
    return rpc.transport(configuration.load([f"--config-file={file}"]))


@pytest.fixture
def conductor(bus: oslo_messaging.Transport, world: World) -> Iterator[rpc.ConductorClient]:
    """What the agent of compute1 asks the real conductor with."""
    server = rpc.server(bus, rpc.CONDUCTOR_TOPIC, "controller", world.conductor)
    server.start()
    yield rpc.ConductorClient(bus, "compute1")
    server.stop()
    server.wait()


def test_a_claim_and_its_outcome_cross_the_bus(conductor: rpc.ConductorClient, world: World) -> None:
    [free] = conductor.sync("QEMU", [STICKS["STICK1"]])
    assert free == Claim(
        free.device_id,
        STICKS["STICK1"].identity,
        "2-1",
        generation=0,
        state="available",
        vendor_id="0781",
        product_id="5567",
        serial="STICK1",
        enabled=True,
    )
    world.attach("demo", SERVERS["DEMO"].id, free.device_id)
    [claimed] = conductor.sync("QEMU", [STICKS["STICK1"]])
    assert (claimed.server_id, claimed.generation) == (SERVERS["DEMO"].id, 1)
    conductor.report([ClaimStatus(free.device_id, 1, State.ATTACHED)])
    row = queries.device(world.db, free.device_id)
    assert row is not None
    assert row.state == State.ATTACHED


def test_servers_cross_the_bus(conductor: rpc.ConductorClient, world: World) -> None:
    """And a repetition is known as one, although it was encoded anew."""
    on, off = SERVERS["DEMO"].id, SERVERS["OTHER"].id
    told = {on: Server(True, 3), off: Server(False)}
    for _ in range(2):
        with statements.recorded(world.db.engine()) as made:
            conductor.sync("QEMU", [STICKS["STICK1"]], ["a problem"], told)
    assert len(made) == 2
    with world.db.reader() as session:
        rows = session.scalars(sa.select(models.Instance)).all()
    assert {row.instance_uuid: Server(row.running, row.usb_ports) for row in rows} == told
    assert {row.host for row in rows} == {"compute1"}


def test_an_agent_without_a_name_is_refused(
    bus: oslo_messaging.Transport, conductor: rpc.ConductorClient
) -> None:
    nameless = rpc.ConductorClient(bus, "")
    with pytest.raises(ValueError, match="not the name of a host"):
        nameless.sync("QEMU", [])
    assert conductor.sync("QEMU", []) == []


class Agent:
    """Hears what it is told."""

    target = oslo_messaging.Target(version=rpc.AGENT_VERSION)

    def __init__(self) -> None:
        self.told: queue.Queue[Claim] = queue.Queue()

    def claim_changed(self, context: object, claim: dict[str, object]) -> None:
        self.told.put(wire.decode(Claim, claim))


def test_only_the_agent_of_the_host_is_told(bus: oslo_messaging.Transport) -> None:
    agents = {host: Agent() for host in ("compute1", "compute2")}
    servers = [rpc.server(bus, rpc.AGENT_TOPIC, host, agent) for host, agent in agents.items()]
    for server in servers:
        server.start()
    claim = Claim("device", "identity", "2-1", 3, "server")
    rpc.AgentClient(bus).claim_changed("compute2", rpc.AGENT_VERSION, claim, {})
    assert agents["compute2"].told.get(timeout=30) == claim
    for server in servers:
        server.stop()
        server.wait()
    assert agents["compute1"].told.empty()


def test_a_bus_that_is_away_keeps_nobody_waiting(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "bus.conf"
    # Nobody listens on port 1 (tcpmux).
    file.write_text("[DEFAULT]\ntransport_url = rabbit://guest:guest@127.0.0.1:1/\n")
    agents = rpc.AgentClient(rpc.transport(configuration.load([f"--config-file={file}"])))
    nudge = threading.Thread(
        target=agents.claim_changed, args=("compute1", rpc.AGENT_VERSION, Claim("d", "i", "2-1", 1), {})
    )
    nudge.start()
    nudge.join(timeout=30)
    assert not nudge.is_alive()
    assert "Cannot notify the agent on host compute1" in caplog.text
