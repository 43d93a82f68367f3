# SPDX-License-Identifier: Apache-2.0
"""Scripts of other sites, where the operator lets them in."""

from __future__ import annotations

from pathlib import Path

import pytest
import webob

from compute_shim.api import deploy
from tests.functional.world import World

_SITE = "https://horizon.example"


@pytest.fixture
def world(world: World) -> World:
    """A cloud that lets one site in."""
    world.api = deploy.deploy(world.conf, world.db, world.nova, world.keystone, world.nudger)
    world.conf.set_override("allowed_origin", [_SITE], group="cors")
    world.api = deploy.deploy(world.conf, world.db, world.nova, world.keystone, world.nudger)
    return world


def _preflight(
    world: World, origin: str, header: str = "X-Auth-Token", method: str = "PATCH"
) -> webob.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": header,
    }
    path = f"/v1/devices/{world.device_id('STICK1')}"
    return webob.Request.blank(path, method="OPTIONS", headers=headers).get_response(world.api)


def test_a_preflight_request_needs_no_token(world: World, tmp_path: Path) -> None:
    world.sync(STICK1={})
    for header in (
        "X-Auth-Token",
        "X-OpenStack-Request-ID",
        "OpenStack-API-Version",
        "If-Match",
        "Content-Type",
    ):
        answer = _preflight(world, _SITE, header)
        assert answer.status_int == 204
        assert answer.headers["Access-Control-Allow-Origin"] == _SITE
        assert answer.headers["Access-Control-Allow-Methods"] == "PATCH"
        assert answer.headers["Access-Control-Allow-Headers"] == header


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_scripts_may_do_what_clients_do(world: World, method: str) -> None:
    world.sync(STICK1={})
    answer = _preflight(world, _SITE, method=method)
    assert answer.headers["Access-Control-Allow-Methods"] == method


def test_scripts_may_do_nothing_else(world: World) -> None:
    world.sync(STICK1={})
    assert "Access-Control-Allow-Methods" not in _preflight(world, _SITE, method="TRACE").headers


def test_other_sites_stay_out(world: World) -> None:
    world.sync(STICK1={})
    assert "Access-Control-Allow-Origin" not in _preflight(world, "https://evil.example").headers


@pytest.mark.parametrize("token", ["demo", "forged"])
def test_answers_and_errors_may_be_read(world: World, token: str) -> None:
    request = webob.Request.blank("/v1/devices", headers={"Origin": _SITE, "X-Auth-Token": token})
    answer = request.get_response(world.api)
    assert answer.headers["Access-Control-Allow-Origin"] == _SITE
    exposed = set(answer.headers["Access-Control-Expose-Headers"].split(","))
    assert exposed == {"X-OpenStack-Request-ID", "OpenStack-API-Version", "ETag", "Retry-After"}
