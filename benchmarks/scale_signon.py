# SPDX-License-Identifier: Apache-2.0
"""A cloud's agents that all speak at once: the first time, and when everything is known."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent import futures
from pathlib import Path

import oslo_messaging

from benchmarks.scale_cloud import DEVICES_PER_HOST, HYPERVISOR, Cloud, devices_of
from benchmarks.scale_servers import Servers
from compute_shim import conf as configuration
from compute_shim import rpc
from lab.cloud.process import wait_until

# Connections are shared: one for each of 300 hosts would measure this process and RabbitMQ.
_HOSTS_PER_BUS = 30
_START_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class _Storm:
    failed: list[BaseException]
    deadlocks: int
    seconds: float

    def __str__(self) -> str:
        return f"{len(self.failed)} calls failed, {self.deadlocks} deadlocks, {self.seconds:.1f} s"


def report(servers: Servers, directory: Path, hosts: int, conductors: int) -> str:
    """What becomes of the first syncs, and of the second ones.

    :param directory: for configuration files.
    """
    names = [f"conductor{number + 1}" for number in range(conductors)]
    database = servers.create_database()
    cloud = Cloud(database, directory, hosts)
    servers.start_rabbitmq()
    files = [servers.start_conductor(name, database) for name in names]
    buses = [_bus(files[0]) for _ in range(0, hosts, _HOSTS_PER_BUS)]
    try:
        for name in names:
            _wait_serving(buses[0], name, servers.log(name))
        clients = [
            rpc.ConductorClient(buses[number // _HOSTS_PER_BUS], host)
            for number, host in enumerate(cloud.hosts)
        ]
        first = _storm(servers, clients, cloud.hosts)
        second = _storm(servers, clients, cloud.hosts)
    finally:
        # Some cleanups wait for a thread that reads from RabbitMQ until RabbitMQ ends.
        for bus in buses:
            threading.Thread(target=bus.cleanup, daemon=True).start()
        servers.stop_processes()
    lines = [
        f"{hosts} hosts with {DEVICES_PER_HOST} devices at once, {conductors} conductors",
        f"  first syncs:  {first}",
        f"  second syncs: {second}; first / second {first.seconds / second.seconds:.2f}",
    ]
    for storm in (first, second):
        lines += [f"  failed: {count} {kind}" for kind, count in Counter(map(_kind, storm.failed)).items()]
    return "\n".join(lines)


def _bus(servers_file: Path) -> oslo_messaging.Transport:
    return rpc.transport(configuration.load([f"--config-file={servers_file}"]))


def _wait_serving(bus: oslo_messaging.Transport, name: str, log: Path) -> None:
    """Wait until a conductor takes messages.

    :raises LabError: it does not
    """
    target = oslo_messaging.Target(topic=rpc.CONDUCTOR_TOPIC, server=name, version=rpc.CONDUCTOR_VERSION)
    client = oslo_messaging.get_rpc_client(bus, target, timeout=2)

    def answers() -> bool:
        try:
            client.call({}, "report", host=name, outcomes=[])
        except oslo_messaging.MessagingTimeout:
            return False
        return True

    wait_until(answers, f"{name} does not answer", _START_SECONDS, lambda: True, log)


def _storm(servers: Servers, clients: Sequence[rpc.ConductorClient], hosts: Sequence[str]) -> _Storm:
    """All agents sync at once; each once, be it that it fails."""
    ready = threading.Barrier(len(hosts) + 1)

    def sync(client: rpc.ConductorClient, host: str) -> None:
        devices = devices_of(host)
        ready.wait()
        client.sync(HYPERVISOR, devices)

    with futures.ThreadPoolExecutor(len(hosts)) as pool:
        calls = [pool.submit(sync, client, host) for client, host in zip(clients, hosts, strict=True)]
        deadlocks = servers.deadlocks()
        ready.wait()
        began = time.perf_counter()
        errors = [call.exception() for call in calls]
        seconds = time.perf_counter() - began
    return _Storm([error for error in errors if error is not None], servers.deadlocks() - deadlocks, seconds)


def _kind(error: BaseException) -> str:
    """What a call failed of, without the traceback of the conductor that comes with it."""
    remote = getattr(error, "exc_type", None)
    return f"{remote} in the conductor" if remote else type(error).__name__
