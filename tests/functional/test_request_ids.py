# SPDX-License-Identifier: Apache-2.0
"""One request, followed by its id through the API, Nova, the message bus and the logs."""

from __future__ import annotations

import io
import logging
import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import oslo_messaging
import pytest
import requests_mock
import webob
from oslo_log import formatters

from compute_shim import conf as configuration
from compute_shim import rpc
from compute_shim.api import deploy
from compute_shim.conf import nova as nova_conf
from compute_shim.db.api import Database
from compute_shim.nova import Nova
from compute_shim.nudger import Nudger
from tests.functional.world import SERVERS, World

GLOBAL = "req-12345678-1234-1234-1234-123456789abc"
OWN = "req-00000000-0000-0000-0000-00000000000f"
_PATIENCE = 60


class Agent:
    """The agent of compute1: logs what it is told."""

    target = oslo_messaging.Target(version=rpc.AGENT_VERSION)

    def __init__(self) -> None:
        self.contexts: queue.Queue[dict[str, Any]] = queue.Queue()

    def claim_changed(self, context: dict[str, Any], claim: dict[str, Any]) -> None:
        logging.getLogger("compute_shim.agent").info("Told of device %s", claim["device_id"])
        self.contexts.put(context)


@pytest.fixture
def log(world: World) -> Iterator[io.StringIO]:
    """The log as oslo.log writes it by default."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatters.ContextFormatter(project="usb-shim", version="1", config=world.conf))
    logger = logging.getLogger("compute_shim")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def bus(tmp_path: Path) -> oslo_messaging.Transport:
    file = tmp_path / "bus.conf"
    file.write_text(f"[DEFAULT]\ntransport_url = fake:///\ncontrol_exchange = {tmp_path.name}\n")
    return rpc.transport(configuration.load([f"--config-file={file}"]))


@pytest.fixture
def serve(bus: oslo_messaging.Transport) -> Iterator[Callable[..., None]]:
    """Serves an endpoint on the bus until the test is over."""
    servers = []

    def start(topic: str, host: str, endpoint: object) -> None:
        servers.append(rpc.server(bus, topic, host, endpoint))
        servers[-1].start()

    yield start
    for server in servers:
        server.stop()
        server.wait()


@pytest.fixture
def http() -> Iterator[requests_mock.Mocker]:
    """Nova knows the server."""
    server = SERVERS["DEMO"]
    body = {"id": server.id, "tenant_id": server.project_id, "hostId": server.host_id, "locked": False}
    with requests_mock.Mocker() as mocker:
        mocker.get(f"http://nova.example/servers/{server.id}", json={"server": body})
        yield mocker


@pytest.fixture
def api(world: World, bus: oslo_messaging.Transport, http: requests_mock.Mocker) -> Any:
    """The API of the world with a real client of Nova and real nudges."""
    nova_conf.register(world.conf)
    world.conf.set_override("endpoint_override", "http://nova.example", group="nova")
    world.sync(STICK1={})
    db = Database(world.conf)
    return deploy.deploy(world.conf, db, Nova(world.conf), world.keystone, Nudger(db, rpc.AgentClient(bus)))


def _attach(world: World, api: Any, **headers: str) -> webob.Response:
    path = f"/v1/servers/{SERVERS['DEMO'].id}/attachments"
    request = webob.Request.blank(path, method="POST", headers={"X-Auth-Token": "demo", **headers})
    request.json = {"attachment": {"device_id": world.device_id("STICK1")}}
    return request.get_response(api)


def _line(log: io.StringIO, text: str) -> str:
    [line] = [line for line in log.getvalue().splitlines() if text in line]
    return line


def test_the_id_of_the_client_goes_all_the_way(
    world: World, api: Any, http: requests_mock.Mocker, serve: Callable[..., None], log: io.StringIO
) -> None:
    agent = Agent()
    serve(rpc.AGENT_TOPIC, "compute1", agent)
    answer = _attach(world, api, **{"X-OpenStack-Request-ID": GLOBAL})
    own = answer.headers["X-OpenStack-Request-ID"]
    assert answer.status_int == 202
    assert own != GLOBAL
    assert {request.headers["X-OpenStack-Request-ID"] for request in http.request_history} == {GLOBAL}
    context = agent.contexts.get(timeout=_PATIENCE)
    assert context == {"request_id": own, "global_request_id": GLOBAL}
    device_id, server_id = world.device_id("STICK1"), SERVERS["DEMO"].id
    requested = _line(log, f"Attach of device {device_id} to server {server_id} requested")
    told = _line(log, f"Told of device {device_id}")
    for line in (requested, told):
        assert f"{GLOBAL} {own}" in line
    assert "INFO" in requested
    [event, *_] = world.request("demo", "GET", "/v1/events").json["events"]
    assert event["request_id"] == own


@pytest.mark.parametrize("sent", [{}, {"X-OpenStack-Request-ID": "req-1\n"}], ids=["none", "bad"])
def test_without_one_the_id_of_the_answer_does(
    sent: dict[str, str],
    world: World,
    api: Any,
    http: requests_mock.Mocker,
    serve: Callable[..., None],
) -> None:
    agent = Agent()
    serve(rpc.AGENT_TOPIC, "compute1", agent)
    own = _attach(world, api, **sent).headers["X-OpenStack-Request-ID"]
    assert {request.headers["X-OpenStack-Request-ID"] for request in http.request_history} == {own}
    assert agent.contexts.get(timeout=_PATIENCE) == {"request_id": own, "global_request_id": None}


def _tell_conductor(bus: oslo_messaging.Transport, context: dict[str, Any]) -> None:
    """An agent reports nonsense, of which the conductor logs a warning."""
    target = oslo_messaging.Target(topic=rpc.CONDUCTOR_TOPIC, version="1.0")
    client = oslo_messaging.get_rpc_client(bus, target, timeout=_PATIENCE)
    client.call(context, "report", host="compute1", outcomes=[{"device_id": 7}])


def test_the_conductor_logs_the_ids_that_it_is_sent(
    world: World, bus: oslo_messaging.Transport, serve: Callable[..., None], log: io.StringIO
) -> None:
    serve(rpc.CONDUCTOR_TOPIC, "controller", world.conductor)
    _tell_conductor(bus, {"request_id": OWN, "global_request_id": GLOBAL})
    assert f"{GLOBAL} {OWN}" in _line(log, "Ignoring a bad record")


@pytest.mark.parametrize("bad", [f"{OWN}\nforged line", "x", 7, ["a"], None], ids=repr)
def test_an_id_that_is_none_is_not_logged(
    bad: Any, world: World, bus: oslo_messaging.Transport, serve: Callable[..., None], log: io.StringIO
) -> None:
    serve(rpc.CONDUCTOR_TOPIC, "controller", world.conductor)
    _tell_conductor(bus, {"request_id": bad, "global_request_id": bad})
    assert "[None req-" in _line(log, "Ignoring a bad record")
    assert "forged" not in log.getvalue()
    assert OWN not in log.getvalue()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"enabled": False}, "disabled by the cloud administrator"),
        ({"description": "rack 7"}, "described"),
    ],
)
def test_what_an_operator_changes_is_logged(
    change: dict[str, Any], text: str, world: World, log: io.StringIO
) -> None:
    world.sync(STICK1={})
    device_id = world.device_id("STICK1")
    answer = world.request("admin", "PATCH", f"/v1/devices/{device_id}", {"device": change})
    line = _line(log, f"Device {device_id}: {text}")
    assert answer.headers["X-OpenStack-Request-ID"] in line
    assert "rack 7" not in log.getvalue()
