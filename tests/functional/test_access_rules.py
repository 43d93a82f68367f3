# SPDX-License-Identifier: Apache-2.0
"""What keystonemiddleware does for us: access rules against our catalog type, and a Keystone in trouble."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
from keystoneauth1 import exceptions as ks_exceptions
from keystoneauth1 import fixture as ks_fixture
from keystonemiddleware import auth_token
from keystonemiddleware import fixture as keystone_fixture

from compute_shim.api import deploy
from tests.functional.world import DEMO_PROJECT, World


@pytest.fixture
def limited(world: World) -> Iterator[World]:
    """A cloud where the token ``limited`` may list devices and nothing else."""
    keystone = keystone_fixture.AuthTokenFixture()
    with keystone:
        token = ks_fixture.V3Token(project_id=DEMO_PROJECT, user_domain_id="default")
        token.add_role(name="member")
        token.add_role(name="reader")
        token.add_service("usb-passthrough").add_standard_endpoints(public="http://usb.example")
        rule = {"service": "usb-passthrough", "method": "GET", "path": "/v1/devices"}
        token.set_application_credential("limited", access_rules=[rule])
        keystone.add_token(token, "limited")
        yield world


def test_what_the_rules_allow(limited: World) -> None:
    assert limited.request("limited", "GET", "/v1/devices").status_int == 200
    assert limited.request("limited", "HEAD", "/v1/devices").status_int == 200


def test_what_they_do_not(limited: World) -> None:
    limited.sync(STICK1={})
    for method, path in (
        ("GET", f"/v1/devices/{limited.device_id('STICK1')}"),
        ("POST", "/v1/servers/x/attachments"),
    ):
        assert limited.request("limited", method, path, {}).status_int == 401


@pytest.mark.parametrize(("timeout", "seconds"), [(60, 15), (3, 1)])
def test_a_keystone_that_hangs_is_not_waited_for_long(timeout: int, seconds: int, limited: World) -> None:
    """Two tries take half of the time of a request, where that is long enough."""
    limited.conf.set_override("request_timeout", timeout, group="api")
    limited.api = deploy.deploy(limited.conf, limited.db, limited.nova, limited.keystone, limited.nudger)
    group = limited.conf.keystone_authtoken
    assert (group.http_request_max_retries, group.http_connect_timeout) == (1, seconds)


@pytest.mark.parametrize(
    "error", [ks_exceptions.ConnectTimeout, ks_exceptions.SSLError, ks_exceptions.EndpointNotFound]
)
def test_a_keystone_that_does_not_tell_who_asks(
    error: type[Exception], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """keystonemiddleware lets these through: its caller would answer 500."""

    def fetch_token(self: Any, token: str, allow_expired: bool = False) -> NoReturn:
        raise error

    monkeypatch.setattr(auth_token.AuthProtocol, "fetch_token", fetch_token)
    answer = world.request("demo", "GET", "/v1/devices")
    assert answer.status_int == 503
    assert answer.json["error"]["reason_code"] == "identity_unavailable"
    assert answer.headers["Retry-After"]


def test_the_operator_may_call_the_service_something_else(limited: World) -> None:
    limited.conf.set_override("service_type", "something-else", group="keystone_authtoken")
    limited.api = deploy.deploy(limited.conf, limited.db, limited.nova, limited.keystone, limited.nudger)
    assert limited.request("limited", "GET", "/v1/devices").status_int == 401


def test_tokens_can_be_cached_in_memcached(world: World) -> None:
    """The middleware imports the library with the first token; without it each call fails."""
    world.conf.set_override("memcached_servers", ["127.0.0.1:1"], group="keystone_authtoken")
    middleware = auth_token.AuthProtocol(None, {"oslo_config_config": world.conf})
    middleware._token_cache.initialize({})
    assert middleware._token_cache.get("token") is None
