# SPDX-License-Identifier: Apache-2.0
"""Certificates of two hosts."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator

import pytest

from compute_shim.relay.credentials import Credentials
from tests.pki import Authority
from tests.unit.relay.relays import DEVICE_HOST, SERVER_HOST


@pytest.fixture(autouse=True)
def small_heap() -> Iterator[None]:
    """A relay collects garbage at the end of each connection, which takes long where all tests are loaded."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority of all hosts."""
    return Authority(tmp_path_factory.mktemp("pki"), "authority")


@pytest.fixture(scope="session")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority of somebody else."""
    return Authority(tmp_path_factory.mktemp("pki"), "other")


@pytest.fixture(scope="session")
def device_host(authority: Authority) -> Credentials:
    """The certificate of the device's host."""
    return authority.issue("device-host", DEVICE_HOST, "usbhost1")


@pytest.fixture(scope="session")
def server_host(authority: Authority) -> Credentials:
    """The certificate of the server's host."""
    return authority.issue("server-host", SERVER_HOST)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    """What the relays log."""
    caplog.set_level(logging.INFO, "compute_shim.relay")
    return Log(caplog)


class Log:
    """The lines of a log."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def warnings(self) -> list[str]:
        """What went wrong."""
        return [record.getMessage() for record in self._caplog.records if record.levelno >= logging.WARNING]
