# SPDX-License-Identifier: Apache-2.0
"""A catalog with two regions, and nobody has said which one is ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests_mock
from keystoneauth1 import fixture as keystone_fixture

from compute_shim import conf as configuration
from compute_shim import rpc
from compute_shim.conductor import service
from compute_shim.conductor.server_sync import ServerSync
from compute_shim.conf import database
from compute_shim.conf import nova as nova_conf
from tests.unit.clock import clock
from tests.unit.conductor.cloud import Cloud, Compute

KEYSTONE = "http://keystone.example/v3"
CONF = """
[DEFAULT]
host = controller
transport_url = fake:///
[nova]
auth_type = password
auth_url = http://keystone.example/v3
username = usb
password = secret
user_domain_id = default
"""


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """Nova has the claims' servers in no region; the one that it is asked in has our host."""
    token = keystone_fixture.V3Token(project_id="service")
    nova = token.add_service("compute")
    for region in ("one", "two"):
        nova.add_standard_endpoints(public="http://nova.example", region=region)
    with requests_mock.Mocker() as mocker, clock() as told:
        cloud = Cloud(Compute(mocker), told)
        mocker.get(KEYSTONE, json={"version": keystone_fixture.V3Discovery(KEYSTONE)})
        mocker.post(f"{KEYSTONE}/auth/tokens", json=token, headers={"X-Subject-Token": "token"})
        yield cloud


def conductor(cloud: Cloud, directory: Path, more: str = "") -> ServerSync:
    """As the process makes it."""
    file = directory / "usb-shim.conf"
    file.write_text(CONF + more)
    conf = configuration.load([f"--config-file={file}"])
    database.register(conf)
    nova_conf.register(conf)
    made: Any = service._of_servers(conf, cloud.db, rpc.transport(conf))[0]
    made._clock = lambda: cloud.monotonic
    made._back_off._clock = made._clock
    # The real one reads the database on a thread of its own, and one in memory has a single connection.
    made._nudger = cloud.nudger
    return made


def test_nothing_is_released(cloud: Cloud, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cloud.compute.deleted = set(cloud.claims(1))
    cloud.look(4, conductor(cloud, tmp_path))
    assert cloud.released == set()
    assert caplog.text.count("Set [nova] region_name") == 1


def test_a_region_that_is_named_is_believed(cloud: Cloud, tmp_path: Path) -> None:
    [gone] = cloud.claims(1)
    cloud.compute.deleted = {gone}
    cloud.look(2, conductor(cloud, tmp_path, "region_name = two\n"))
    assert cloud.released == {gone}
