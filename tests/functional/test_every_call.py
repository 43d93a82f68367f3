# SPDX-License-Identifier: Apache-2.0
"""What every call does before anything else: it asks its policy, then it refuses unknown parameters."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import webob

from compute_shim.api import deploy
from compute_shim.api.application import ROUTES
from tests.functional.world import World

# Which rules allow a call: one of them is enough.
RULES = {
    "GET /v1/devices": ["devices:list"],
    "GET /v1/devices/{device_id}": ["devices:show"],
    "PATCH /v1/devices/{device_id}": ["devices:update", "devices:share"],
    "DELETE /v1/devices/{device_id}": ["devices:delete"],
    "GET /v1/devices/{device_id}/explain": ["devices:explain"],
    "POST /v1/devices/{device_id}/release": ["devices:release"],
    "PUT /v1/devices/{device_id}/projects/{project_id}": ["devices:share"],
    "DELETE /v1/devices/{device_id}/projects/{project_id}": ["devices:share"],
    "GET /v1/devices/{device_id}/events": ["events:list"],
    "GET /v1/events": ["events:list"],
    "GET /v1/kinds": ["kinds:list"],
    "GET /v1/servers/{server_id}/attachments": ["attachments:list"],
    "POST /v1/servers/{server_id}/attachments": ["attachments:create"],
    "GET /v1/servers/{server_id}/attachments/{device_id}": ["attachments:list"],
    "PATCH /v1/servers/{server_id}/attachments/{device_id}": ["attachments:update"],
    "DELETE /v1/servers/{server_id}/attachments/{device_id}": ["attachments:delete"],
    "GET /v1/servers/{server_id}/queue": ["queue:list"],
    "POST /v1/servers/{server_id}/queue": ["queue:join"],
    "DELETE /v1/servers/{server_id}/queue/{entry_id}": ["queue:leave"],
    "GET /v1/queue": ["queue:list"],
    "GET /v1/hosts": ["hosts:list"],
    "GET /v1/hosts/{host}": ["hosts:show"],
    "DELETE /v1/hosts/{host}": ["hosts:delete"],
}
PUBLIC = ["GET /", "GET /v1"]
NOBODY = {name: str(UUID(int=0)) for name in ("device_id", "server_id", "entry_id", "project_id", "host")}


def _senseless(world: World, call: str) -> webob.Response:
    """The answer to a call of things that do not exist, with a parameter and a body that no call takes."""
    method, path = call.format(**NOBODY).split()
    request = webob.Request.blank(f"{path}?colour=red", method=method, headers={"X-Auth-Token": "admin"})
    request.body = b"" if method == "GET" else b"?"
    return request.get_response(world.api)


def test_the_table_has_every_call() -> None:
    calls = {f"{method} {path}" for path, handlers in ROUTES.items() for method in handlers}
    assert {*RULES, *PUBLIC} == calls


def test_whom_the_policy_refuses_learns_nothing_else(world: World, tmp_path: Path) -> None:
    """Not even an administrator is told what else is wrong with a call that is not allowed."""
    file = tmp_path / "policy.yaml"
    world.conf.set_override("policy_file", str(file), group="oslo_policy")
    for call, rules in RULES.items():
        file.write_text("".join(f'"usb-passthrough:{rule}": "!"\n' for rule in rules))
        world.api = deploy.deploy(world.conf, world.db, world.nova, world.keystone, world.nudger)
        answer = _senseless(world, call)
        assert answer.status_int == 403, call
        assert rules[0] in answer.json["error"]["message"], call


def test_an_unknown_parameter_is_refused_before_anything_is_looked_for(world: World) -> None:
    for call in [*PUBLIC, *RULES]:
        answer = _senseless(world, call)
        assert answer.status_int == 400, call
        assert "colour" in answer.json["error"]["message"], call
