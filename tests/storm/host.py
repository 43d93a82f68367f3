# SPDX-License-Identifier: Apache-2.0
"""Compute hosts in this process: the real agent on the real message bus, and domains in memory."""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from compute_shim import conf as configuration
from compute_shim import rpc
from compute_shim.agent.agent import Agent
from compute_shim.agent.discovery import Discovery
from compute_shim.agent.reporter import Reporter
from compute_shim.agent.service import Endpoint
from compute_shim.hypervisor.base import Domain, HypervisorError
from compute_shim.objects import Claim, Device, ReasonCode
from tests.unit.agent.model import FakeDriver, device

DEVICES = 5

# Seconds. The first is far below the default: what a killed process has lost is told again soon.
_SYNC_SECONDS = 2.0
_LOOK_SECONDS = 6.0
_LONGEST_ATTACH_SECONDS = 0.2


class StormDriver(FakeDriver):
    """Running domains that take their time, and tell when two of them would have the same device.

    :param complain: takes what must never be asked of a host.
    """

    def __init__(
        self,
        servers: Iterable[str],
        devices: Iterable[Device],
        dice: random.Random,
        complain: Callable[[str], None],
    ) -> None:
        super().__init__((Domain(uuid, f"instance-{uuid}", running=True) for uuid in servers), devices)
        self._dice = dice
        self._complain = complain

    def attach(self, uuid: str, device_id: str, device: Device) -> None:
        time.sleep(self._dice.uniform(0, _LONGEST_ATTACH_SECONDS))
        try:
            super().attach(uuid, device_id, device)
        except HypervisorError as error:
            if error.reason.code == ReasonCode.HELD_BY_DOMAIN:
                self._complain(f"device {device_id}: is to be in domain {uuid} while another domain has it")
            raise

    def detach(self, uuid: str, device_id: str, *, live: bool, config: bool) -> Domain | None:
        time.sleep(self._dice.uniform(0, _LONGEST_ATTACH_SECONDS))
        return super().detach(uuid, device_id, live=live, config=config)

    def inside(self, uuid: str) -> set[str]:
        """The ids of the devices in a domain."""
        return {hostdev.device_id for hostdev in self.state[uuid].live if hostdev.device_id}


class StormDiscovery(Discovery):
    """Devices that are always there.

    They stand in for `compute_shim.agent.discovery.Discovery`, which would look at this machine.
    """

    def __init__(self, count: int = DEVICES, kind: str = "") -> None:
        offer = {"shared": True, "projects": (), "kind": kind, "handover": "none"}
        self.devices = [
            device(number, plug_id=f"b007/2.{number}/{number}", **offer) for number in range(count)
        ]

    def scan(self, claims: Collection[Claim]) -> list[Device]:
        # One has the id that its claim has: by which the conductor knows it.
        ids = {claim.identity: claim.device_id for claim in claims}
        return [dataclasses.replace(it, device_id=ids.get(it.identity)) for it in self.devices]

    identify = scan

    def refresh(self, plugged: Device) -> Device | None:
        return plugged


class Host:
    """A compute host with running servers.

    :param file: configuration that names the host and the message bus.
    """

    def __init__(
        self,
        name: str,
        file: Path,
        servers: Iterable[str],
        dice: random.Random,
        complain: Callable[[str], None],
    ) -> None:
        self.name = name
        discovery = StormDiscovery()
        self.driver = StormDriver(servers, discovery.devices, dice, complain)
        self.stop = run_agent(file, self.driver, discovery)


def run_agent(file: Path, driver: StormDriver, discovery: Discovery) -> Callable[[], None]:
    """Run the agent of a host, as `compute_shim.agent.service.run` does; returns what stops it."""
    conf = configuration.load([f"--config-file={file}"])
    bus = rpc.transport(conf)
    reporter = Reporter(rpc.ConductorClient(bus, conf.host), _SYNC_SECONDS)
    agent = Agent(driver, discovery, reporter, _LOOK_SECONDS, reset_device=lambda device: None)
    server = rpc.server(bus, rpc.AGENT_TOPIC, conf.host, Endpoint(agent))
    server.start()
    threads = [
        threading.Thread(target=agent.run, name=f"{conf.host} agent"),
        threading.Thread(
            target=reporter.run,
            name=f"{conf.host} reporter",
            args=(lambda claims: agent.claims_arrived(claims, complete=True),),
        ),
    ]
    for thread in threads:
        thread.start()

    def stop() -> None:
        agent.stop()
        reporter.stop()
        for thread in threads:
            thread.join()
        server.stop()
        server.wait()
        bus.cleanup()

    return stop
