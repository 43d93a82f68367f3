# SPDX-License-Identifier: Apache-2.0
"""An agent of this version whose conductor is still of RPC 1.0, as it was recorded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oslo_messaging
import pytest

from compute_shim import conf as configuration
from compute_shim import rpc
from compute_shim.agent import reporter as reporter_module
from compute_shim.agent.reporter import Reporter
from compute_shim.hypervisor.base import Domain
from compute_shim.objects import Claim, ClaimStatus, Reason, ReasonCode, Server, State
from tests.functional import recorded
from tests.functional.recorded import old_tree
from tests.functional.world import SERVERS, STICKS
from tests.unit.agent.model import device
from tests.unit.agent.test_agent import until

SERVER = SERVERS["DEMO"].id
HIDDEN = device(2, blocked_code=ReasonCode.NOT_OFFERED, blocked_reason=Reason(ReasonCode.NOT_OFFERED).text)
MOUNTED = device(3, blocked_code=ReasonCode.HOST_MOUNT, blocked_reason="used by the host: mounted at /srv")


class OldConductor:
    """Takes the arguments of RPC 1.0 and no others, and keeps what it is told."""

    target = oslo_messaging.Target(version="1.0")

    def __init__(self) -> None:
        self.answer: list[dict[str, Any]] = []
        self.syncs: list[dict[str, Any]] = []
        self.devices: list[old_tree.Device] = []
        self.outcomes: list[old_tree.Outcome] = []
        self.reports = 0

    def sync(self, context: Any, **arguments: Any) -> list[dict[str, Any]]:
        assert set(arguments) <= set(recorded.conductor_arguments("sync"))
        self.syncs.append(arguments)
        self.devices = old_tree.devices(arguments["devices"])
        return self.answer

    def report(self, context: Any, **arguments: Any) -> None:
        assert set(arguments) <= set(recorded.conductor_arguments("report"))
        self.outcomes = old_tree.outcomes(arguments["outcomes"])
        # Last: tests wait for it, and then look at the outcomes.
        self.reports += 1


class NewConductor(OldConductor):
    """Understands both, and keeps the arguments."""

    target = oslo_messaging.Target(version=rpc.CONDUCTOR_VERSION)

    def sync(self, context: Any, **arguments: Any) -> list[dict[str, Any]]:
        self.syncs.append(arguments)
        return self.answer


def serve(tmp_path: Path, conductor: OldConductor) -> tuple[oslo_messaging.Transport, Any]:
    file = tmp_path / "bus.conf"
    file.write_text(f"[DEFAULT]\ntransport_url = fake:///\ncontrol_exchange = {tmp_path.name}\n")
    bus = rpc.transport(configuration.load([f"--config-file={file}"]))
    return bus, rpc.server(bus, rpc.CONDUCTOR_TOPIC, "controller", conductor)


@pytest.fixture(params=[OldConductor])
def served(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Any, OldConductor]]:
    """A bus with a conductor."""
    conductor = request.param()
    bus, server = serve(tmp_path, conductor)
    server.start()
    yield bus, conductor
    server.stop()
    server.wait()


def test_a_sync_is_spoken_as_the_conductor_understands_it(served: tuple[Any, OldConductor]) -> None:
    bus, conductor = served
    for message in [message for message in recorded.agent_messages() if message.method == "sync"]:
        conductor.answer = message.answer
        found = rpc.ConductorClient(bus, "compute1").sync(
            "QEMU", [device(1), HIDDEN, MOUNTED], ["a problem"], {SERVER: Server(True)}
        )
        assert [(claim.device_id, claim.generation) for claim in found] == [
            (claim["device_id"], claim["generation"]) for claim in message.answer
        ]
    assert conductor.syncs[-1]["version"] == "1.0"
    assert conductor.syncs[-1]["problems"] == ["a problem"]
    assert [it.identity for it in conductor.devices] == [device(number).identity for number in (1, 2, 3)]


def test_a_device_that_no_rule_allows_is_told_by_the_text_that_hides_it(
    served: tuple[Any, OldConductor],
) -> None:
    """Or an API of RPC 1.0 would show it to every tenant."""
    bus, conductor = served
    rpc.ConductorClient(bus, "compute1").sync("QEMU", [device(1), HIDDEN, MOUNTED])
    assert [it.blocked_reason for it in conductor.devices] == [
        None,
        old_tree.NOT_ALLOWED,
        MOUNTED.blocked_reason,
    ]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (ReasonCode.UNPLUGGED, old_tree.Waiting.UNPLUGGED),
        (ReasonCode.SERVER_OFF, old_tree.Waiting.SERVER_OFF),
        (ReasonCode.DOMAIN_ABSENT, old_tree.Waiting.OTHER_HOST),
        (ReasonCode.SERVER_BUSY, old_tree.Waiting.BUSY),
    ],
)
def test_what_a_claim_waits_for_is_told_by_the_text_that_the_conductor_looks_for(
    served: tuple[Any, OldConductor], code: ReasonCode, text: str
) -> None:
    bus, conductor = served
    waiting = ClaimStatus.of(Claim("device", "identity", "2-1", 1, SERVER), State.WAITING, Reason(code))
    rpc.ConductorClient(bus, "compute1").report([waiting], "req-1")
    assert conductor.outcomes == [old_tree.Outcome("device", 1, "waiting", text)]


@pytest.mark.parametrize("served", [NewConductor], indirect=True)
@pytest.mark.parametrize(("pin", "has"), [("1.0", False), (None, True), ("1.1", True)])
def test_a_pinned_agent_speaks_that_version_at_once(
    served: tuple[Any, OldConductor], pin: str | None, has: bool
) -> None:
    bus, conductor = served
    rpc.ConductorClient(bus, "compute1", pin).sync("QEMU", [HIDDEN], [], {SERVER: Server(True)})
    [arguments] = conductor.syncs
    assert arguments["version"] == (pin or rpc.CONDUCTOR_VERSION)
    assert ("servers" in arguments, "blocked_code" in arguments["devices"][0]) == (has, has)
    later = {"usb_ports": None} if pin is None else {}
    told = [{"uuid": SERVER, "running": True, **later}]
    assert arguments.get("servers", told) == told


@pytest.mark.parametrize("served", [NewConductor], indirect=True)
def test_servers_that_are_not_known_are_not_told(served: tuple[Any, OldConductor]) -> None:
    """An empty list would say that no server is on the host."""
    bus, conductor = served
    client = rpc.ConductorClient(bus, "compute1")
    client.sync("QEMU", [], [], None)
    client.sync("QEMU", [], [], {})
    assert [arguments.get("servers") for arguments in conductor.syncs] == [None, []]


class RabbitClient:
    """The client of oslo.messaging on RabbitMQ, where an exception of the other side comes by its name."""

    def __init__(self, error: str) -> None:
        self.error = error
        self.versions: list[str] = []

    def prepare(self, version: str) -> RabbitClient:
        self.versions.append(version)
        return self

    def call(self, context: Any, method: str, **arguments: Any) -> list[Any]:
        if self.versions[-1] != "1.0":
            raise oslo_messaging.RemoteError(self.error, "no such version", "")
        return []


def test_on_rabbitmq_the_refusal_of_a_version_comes_by_its_name(served: tuple[Any, OldConductor]) -> None:
    client = rpc.ConductorClient(served[0], "compute1")
    client._client = rabbit = RabbitClient("UnsupportedVersion")
    assert client.sync("QEMU", []) == []
    assert rabbit.versions == ["1.4", "1.3", "1.2", "1.1", "1.0"]
    client._client = rabbit = RabbitClient("ValueError")
    with pytest.raises(oslo_messaging.RemoteError):
        client.sync("QEMU", [])
    assert rabbit.versions == [rpc.CONDUCTOR_VERSION]


@pytest.mark.parametrize(
    ("state", "code", "answered"),
    [
        (State.FAILED, ReasonCode.HELD_BY_DOMAIN, None),
        (State.FAILED, ReasonCode.NO_USB_CONTROLLER, None),
        (State.WAITING, ReasonCode.SERVER_OFF, None),
        (State.WAITING, ReasonCode.SERVER_OFF, old_tree.Waiting.OTHER_HOST),
        (State.WAITING, ReasonCode.DOMAIN_ABSENT, old_tree.Waiting.SHELVED),
    ],
)
def test_what_the_conductor_keeps_is_told_once(
    served: tuple[Any, OldConductor],
    monkeypatch: pytest.MonkeyPatch,
    state: State,
    code: ReasonCode,
    answered: str | None,
) -> None:
    """Also where the text that comes back has no code, or the conductor has found out where the server is."""
    monkeypatch.setattr(reporter_module, "_RETRY_SECONDS", 0.005)
    bus, conductor = served
    reporter = Reporter(rpc.ConductorClient(bus, "compute1"), 0.01)
    thread = threading.Thread(target=reporter.run, args=(lambda claims: None,))
    thread.start()
    try:
        reporter.servers([Domain(SERVER, "instance-1", True)])
        reporter.devices("QEMU", [STICKS["STICK1"]], [], identified=True)
        claim = Claim("device", "identity", "2-1", 1, SERVER)
        reporter.outcomes([ClaimStatus.of(claim, state, Reason(code))], {})
        until(lambda: conductor.reports == 1)
        [told] = conductor.outcomes
        conductor.answer = [
            {**vars(old_tree.Claim("device", "identity", "2-1", 1, SERVER, state, answered or told.reason))}
        ]
        before = len(conductor.syncs)
        until(lambda: len(conductor.syncs) > before + 4)
        assert conductor.reports == 1
    finally:
        reporter.stop()
        thread.join(20)
