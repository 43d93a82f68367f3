# SPDX-License-Identifier: Apache-2.0
"""What goes over the wire to Keystone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import requests_mock
from keystoneauth1 import fixture as keystone_fixture
from keystoneauth1.identity import v3
from oslo_config import cfg
from oslo_limit import limit

from compute_shim import exception
from compute_shim.conf import nova as nova_conf
from compute_shim.keystone import Keystone
from novaclient_usb.reason_codes import ReasonCode

URL = "http://keystone.example/v3"
PROJECT = "d" * 32


@pytest.fixture
def http() -> Any:
    """Keystone, with itself in its catalog."""
    token = keystone_fixture.V3Token(project_id="admin")
    token.add_service("identity").add_standard_endpoints(public=URL, internal=URL, region="one")
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


ENDPOINT = "the-endpoint"


@pytest.fixture
def limited(http: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keystone]:
    """A Keystone with limits."""
    # What oslo.limit keeps for the life of the process.
    monkeypatch.setattr(limit, "_SDK_CONNECTION", None)
    file = tmp_path / "usb-shim.conf"
    file.write_text(
        f"[oslo_limit]\nendpoint_id = {ENDPOINT}\nauth_type = v3password\nauth_url = {URL}\nusername = usb\n"
        "password = usb\nuser_domain_id = default\nsystem_scope = all\n"
    )
    conf = cfg.ConfigOpts()
    nova_conf.register(conf)
    conf([], project="usb-shim", default_config_files=[str(file)], default_config_dirs=[])
    http.get(f"{URL}/limits/model", json={"model": {"name": "flat", "description": ""}})
    endpoint = {"id": ENDPOINT, "service_id": "the-service", "region_id": "one"}
    http.get(f"{URL}/endpoints/{ENDPOINT}", json={"endpoint": endpoint})
    yield Keystone(conf)
    cfg.CONF.reset()


@pytest.fixture
def limits(limited: Keystone) -> Any:
    """The limits of the project, as the service sees them."""
    return lambda: limited.limits(PROJECT)


def _registered(http: Any, **limits: int) -> None:
    found = [{"resource_name": name, "default_limit": value, "id": name} for name, value in limits.items()]
    http.get(f"{URL}/registered_limits", json={"registered_limits": found})


def _of_project(http: Any, **limits: int) -> None:
    found = [
        {"resource_name": name, "resource_limit": value, "id": name, "project_id": PROJECT}
        for name, value in limits.items()
    ]
    http.get(f"{URL}/limits", json={"limits": found})


def test_registered_limits(http: Any, limits: Any) -> None:
    _registered(http, usb_devices=5, **{"usb_devices:dongle": 1, "volumes": 7})
    _of_project(http)
    assert limits() == {"usb_devices": 5, "usb_devices:dongle": 1}


def test_a_project_may_have_its_own(http: Any, limits: Any) -> None:
    _registered(http, usb_devices=5, **{"usb_devices:dongle": 1})
    _of_project(http, **{"usb_devices:dongle": 3})
    assert limits() == {"usb_devices": 5, "usb_devices:dongle": 3}


def test_they_are_looked_up_anew(http: Any, limits: Any) -> None:
    _of_project(http)
    for value in (1, 2):
        _registered(http, usb_devices=value)
        assert limits() == {"usb_devices": value}


def test_what_is_not_registered_is_none(http: Any, limits: Any) -> None:
    _registered(http)
    _of_project(http)
    assert limits() == {"usb_devices": 0}


@pytest.mark.parametrize(
    "answer", [{"status_code": 403}, {"status_code": 503}, {"exc": requests.ConnectTimeout}], ids=str
)
def test_keystone_cannot_tell_the_limits(http: Any, limits: Any, answer: dict[str, Any]) -> None:
    http.get(f"{URL}/registered_limits", **answer)
    with pytest.raises(exception.Unavailable) as caught:
        limits()
    assert caught.value.reason_code == ReasonCode.IDENTITY_UNAVAILABLE


def test_without_oslo_limit_there_are_none(http: Any) -> None:
    conf = cfg.ConfigOpts()
    nova_conf.register(conf)
    conf([], default_config_files=[], default_config_dirs=[])
    assert Keystone(conf).limits(PROJECT) == {}
    assert http.request_history == []


def test_what_an_operator_has_to_do_for_the_quota(http: Any, limited: Keystone) -> None:
    _registered(http, volumes=7)
    assert "openstack registered limit create" in (limited.quota_problem() or "")
    http.get(f"{URL}/registered_limits", status_code=503)
    assert "Check [oslo_limit]" in (limited.quota_problem() or "")


def test_the_quota_can_be_used(http: Any, limited: Keystone) -> None:
    _registered(http, usb_devices=7)
    assert limited.quota_problem() is None
