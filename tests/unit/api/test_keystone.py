# SPDX-License-Identifier: Apache-2.0
"""What goes over the wire to Keystone."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import requests_mock
from keystoneauth1 import fixture as keystone_fixture
from keystoneauth1.identity import v3
from oslo_config import cfg

from compute_shim.conf import nova as nova_conf
from compute_shim.keystone import Keystone

URL = "http://keystone.example/v3"
PROJECT = "d" * 32


@pytest.fixture
def http() -> Any:
    """Keystone, with itself in its catalog."""
    token = keystone_fixture.V3Token(project_id="admin")
    token.add_service("identity").add_standard_endpoints(internal=URL, region="one")
    with requests_mock.Mocker() as mocker:
        mocker.get(URL, json={"version": keystone_fixture.V3Discovery(URL)})
        mocker.post(f"{URL}/auth/tokens", json=token, headers={"X-Subject-Token": "the caller's"})
        yield mocker


@pytest.fixture
def lacks(http: Any) -> Any:
    """Whether the project is lacking, as the service sees it."""
    conf = cfg.ConfigOpts()
    nova_conf.register(conf)
    conf([], default_config_files=[], default_config_dirs=[])
    auth = v3.Password(URL, username="admin", password="admin", user_domain_id="default")
    return lambda: Keystone(conf).lacks_project(auth, PROJECT)


def test_there_is_such_a_project(http: Any, lacks: Any) -> None:
    http.get(f"{URL}/projects/{PROJECT}", json={"project": {"id": PROJECT}})
    assert lacks() is False
    assert http.request_history[-1].headers["X-Auth-Token"] == "the caller's"


def test_there_is_none(http: Any, lacks: Any) -> None:
    http.get(f"{URL}/projects/{PROJECT}", status_code=404, json={"error": {"code": 404}})
    assert lacks() is True


@pytest.mark.parametrize(
    "answer", [{"status_code": 403}, {"status_code": 503}, {"exc": requests.ConnectTimeout}], ids=str
)
def test_nobody_can_tell(http: Any, lacks: Any, answer: dict[str, Any]) -> None:
    http.get(f"{URL}/projects/{PROJECT}", **answer)
    assert lacks() is False


def test_no_keystone_in_the_catalog(http: Any, lacks: Any) -> None:
    token = keystone_fixture.V3Token(project_id="admin")
    http.post(f"{URL}/auth/tokens", json=token, headers={"X-Subject-Token": "the caller's"})
    assert lacks() is False
