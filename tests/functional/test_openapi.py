# SPDX-License-Identifier: Apache-2.0
"""``doc/openapi.yaml`` is what the API does: by comparison, and by requests that are made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
import yaml
from hypothesis import strategies as st
from schemathesis.specs.openapi import checks as openapi_checks

from compute_shim.api.application import ROUTES
from compute_shim.api.schemas import attachments, base, devices, events, hosts, kinds, queue
from compute_shim.db import queue as queue_rows
from novaclient_usb.reason_codes import ReasonCode
from tests.functional.world import DEMO_PROJECT, OTHER_PROJECT, SERVERS, STICKS, World

_FILE = Path(__file__).parents[2] / "doc" / "openapi.yaml"
SPEC = yaml.safe_load(_FILE.read_text())
OPERATIONS = {
    found.ok().label: found.ok() for found in schemathesis.openapi.from_dict(SPEC).get_all_operations()
}

# Of what a caller may send, by operation; all others take nothing.
QUERIES = {
    "GET /v1/devices": devices.LIST,
    "GET /v1/devices/{device_id}/explain": devices.EXPLAIN,
    "GET /v1/devices/{device_id}/events": events.OF_DEVICE,
    "GET /v1/events": events.LIST,
    "GET /v1/hosts": hosts.LIST,
    "GET /v1/kinds": kinds.LIST,
    "GET /v1/queue": queue.LIST,
    "GET /v1/servers/{server_id}/attachments": attachments.LIST,
    "GET /v1/servers/{server_id}/queue": queue.OF_SERVER,
}
BODIES = {
    "PATCH /v1/devices/{device_id}": devices.UPDATE,
    "POST /v1/servers/{server_id}/attachments": attachments.CREATE,
    "PATCH /v1/servers/{server_id}/attachments/{device_id}": attachments.UPDATE,
    "POST /v1/servers/{server_id}/queue": queue.JOIN,
}
# For each call and token: enough to reach every answer, in some 20 seconds.
_EXAMPLES = 10
_CHECKS = [
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
]


def _resolved(node: Any) -> Any:
    """A part of the description without references."""
    if isinstance(node, list):
        return [_resolved(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target: Any = SPEC
        for name in node["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        return _resolved(target)
    return {key: _resolved(value) for key, value in node.items()}


def _dialect(node: Any) -> Any:
    """A schema of ours in regular expressions of ECMA 262, without ``\\Z`` and halves of characters."""
    if isinstance(node, list):
        return [_dialect(item) for item in node]
    if isinstance(node, dict):
        return {key: _dialect(value) for key, value in node.items()}
    return node.replace(r"\Z", "$").replace(r"\ud800-\udfff", "") if isinstance(node, str) else node


def _described() -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": {
            **operation,
            "parameters": [*item.get("parameters", []), *operation.get("parameters", [])],
        }
        for path, item in _resolved(SPEC["paths"]).items()
        for method, operation in item.items()
        if method != "parameters"
    }


def test_every_call_is_described_and_no_other() -> None:
    assert set(_described()) == {
        f"{method} {path}" for path, handlers in ROUTES.items() for method in handlers
    }


def test_queries_are_those_that_are_taken() -> None:
    for call, operation in _described().items():
        shown = {item["name"]: item["schema"] for item in operation["parameters"] if item["in"] == "query"}
        taken = _dialect(QUERIES.get(call, base.NOTHING)["properties"])
        assert set(shown) == set(taken), call
        for name, schema in shown.items():
            assert {**schema, "description": ""} == {**taken[name], "description": ""}, (call, name)


def test_bodies_are_those_that_are_taken() -> None:
    shown = {
        call: operation["requestBody"]["content"]["application/json"]["schema"]
        for call, operation in _described().items()
        if "requestBody" in operation
    }
    assert shown == _dialect(BODIES)


def test_reason_codes() -> None:
    assert SPEC["components"]["schemas"]["ReasonCode"]["enum"] == [code.value for code in ReasonCode]


@pytest.fixture
def busy_world(world: World) -> World:
    """A cloud with devices in several states."""
    mounted = {"blocked_reason": "mounted", "blocked_code": "host_mount"}
    world.sync("compute1", STICK1={"kind": "dongle"}, STICK2={}, STICK3=mounted)
    world.sync("compute2", STICK4={})
    world.sync("compute2")
    for token, server, stick in (("demo", "DEMO", "STICK1"), ("other", "OTHER", "STICK2")):
        assert world.attach(token, SERVERS[server].id, world.device_id(stick)).status_int == 202
    for token, server in (("demo", "DEMO2"), ("other", "OTHER")):
        path = f"/v1/servers/{SERVERS[server].id}/queue"
        assert world.request(token, "POST", path, {"entry": {"kind": "dongle"}}).status_int == 202
    world.report(world.device_id("STICK1"), "failed", "QEMU: no", "no_free_usb_port")
    return world


@pytest.mark.parametrize("name", OPERATIONS)
def test_requests_made_of_the_description(name: str, busy_world: World) -> None:
    """No answer is an error of the server, or another than the description has."""
    known = {
        "device_id": [busy_world.device_id(stick) for stick in STICKS],
        "server_id": [server.id for server in SERVERS.values()],
        "host": ["compute1", "compute2"],
        "project_id": [DEMO_PROJECT, OTHER_PROJECT],
        "entry_id": [it.entry.entry_id for it in queue_rows.waiting(busy_world.db)],
    }
    choices = st.fixed_dictionaries({key: st.sampled_from(values) for key, values in known.items()})

    @hypothesis.settings(
        max_examples=_EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=OPERATIONS[name].as_strategy(), chosen=choices, real=st.integers(0, 3))
    def ask(case: schemathesis.Case[Any], chosen: dict[str, str], real: int, token: str) -> None:
        if real:
            _make_real(case, chosen)
        answer = case.call(headers={"X-Auth-Token": token}, app=busy_world.api)
        case.validate_response(answer, checks=_CHECKS)
        # There are servers whose host has no agent.
        assert answer.status_code < 500 or answer.json()["error"]["reason_code"] == ReasonCode.HOST_DOWN

    for token in ("forged", "demo-nobody", "other", "demo", "admin"):
        ask(token=token)


def _make_real(case: schemathesis.Case[Any], chosen: dict[str, str]) -> None:
    """Name what there is instead of what there is not, and ask for no version that there is not."""
    for name in case.path_parameters or {}:
        case.path_parameters[name] = chosen[name]
    # What a marker is depends on the list; one that is not there is refused by most.
    for name in set(case.query or {}) & {"server_id", "device_id"}:
        case.query[name] = chosen[name]
    case.headers.pop("OpenStack-API-Version", None)
    for noun in ("attachment", "entry"):
        named = case.body.get(noun) if isinstance(case.body, dict) else None
        if isinstance(named, dict):
            named["device_id"] = chosen["device_id"]
