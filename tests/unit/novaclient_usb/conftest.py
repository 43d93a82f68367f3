# SPDX-License-Identifier: Apache-2.0
"""A cloud of canned answers, and the real ``nova`` and ``openstack`` commands in front of it."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import openstackclient.shell
import pytest
import requests_mock
from keystoneauth1 import fixture, identity, session
from novaclient import shell
from osc_lib import clientmanager

from novaclient_usb import client

KEYSTONE = "http://keystone/v3"
NOVA = "http://nova/v2.1"
USB = "http://usb"

PROJECT = "3f1c9b0a5d4e4f6f8a7b6c5d4e3f2a1b"
DEMO = "5f8a9a0e-7b0c-4f0e-9a5e-0c9d6b9e6a11"

DEPRECATION = "nova CLI is deprecated and will be removed in a future release\n"


@dataclasses.dataclass
class Result:
    """What a command left behind."""

    status: int
    out: str
    err: str


class Cloud:
    """Keystone and Nova with one server, ``demo``; a test adds what our service answers."""

    def __init__(self, mocker: requests_mock.Mocker):
        self._mocker = mocker
        self.set_catalog("compute", "usb-passthrough")
        mocker.get(KEYSTONE, json={"version": fixture.V3Discovery(KEYSTONE)})
        version = {
            "id": "v2.1",
            "status": "CURRENT",
            "version": "2.103",
            "min_version": "2.1",
            "links": [{"rel": "self", "href": f"{NOVA}/"}],
        }
        mocker.get("http://nova/", json={"versions": [version]})
        mocker.get(NOVA, json={"version": version})
        server = {"id": DEMO, "name": "demo"}
        for path in ("servers", "servers/detail"):
            mocker.get(f"{NOVA}/{path}", json={"servers": [server]})
            mocker.get(f"{NOVA}/{path}?name=nowhere", json={"servers": []})
        mocker.get(f"{NOVA}/servers/{DEMO}", json={"server": server})
        not_found = {"itemNotFound": {"message": "Instance nowhere could not be found.", "code": 404}}
        mocker.get(f"{NOVA}/servers/nowhere", status_code=404, json=not_found)
        mocker.get(f"{NOVA}/servers/demo", status_code=404, json=not_found)
        mocker.get(f"{KEYSTONE}/projects/other", status_code=404)
        mocker.get(f"{KEYSTONE}/projects?name=other", json={"projects": [{"id": PROJECT, "name": "other"}]})

    def set_catalog(self, *service_types: str) -> None:
        """Let Keystone name these services, in region R1, with an endpoint of each kind."""
        token = fixture.V3Token()
        token.set_project_scope()
        token.add_service("identity").add_standard_endpoints(public=KEYSTONE, region="R1")
        for service_type in service_types:
            url, path = {"compute": ("http://nova", "/v2.1"), "usb-passthrough": (USB, "/v1")}[service_type]
            token.add_service(service_type).add_standard_endpoints(
                public=f"{url}{path}", internal=f"{url}-internal{path}", region="R1"
            )
        self._mocker.post(f"{KEYSTONE}/auth/tokens", json=token, headers={"X-Subject-Token": "T"})

    def usb(self, method: str, path: str, *answers: Any, status: int = 200) -> None:
        """Let our service answer with this JSON; with several, one after the other, the last for ever."""
        self._mocker.register_uri(
            method, USB + path, [{"json": answer, "status_code": status} for answer in answers]
        )

    def usb_error(
        self, method: str, path: str, code: int, message: str, reason_code: str = "conflict"
    ) -> None:
        """Let our service refuse with this message."""
        self._mocker.register_uri(
            method,
            USB + path,
            status_code=code,
            json={"error": {"code": code, "title": "Title", "reason_code": reason_code, "message": message}},
            headers={"Content-Type": "application/json", "x-openstack-request-id": "req-7"},
        )

    @property
    def mocker(self) -> requests_mock.Mocker:
        """For answers out of the ordinary."""
        return self._mocker

    @property
    def usb_requests(self) -> list[Any]:
        """What was asked of our service."""
        return [request for request in self._mocker.request_history if request.hostname.startswith("usb")]

    @property
    def usb_log(self) -> list[str]:
        """The same as ``METHOD address body``."""
        return [
            " ".join([request.method, request.url, request.text or ""]).strip()
            for request in self.usb_requests
        ]


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    for name in [name for name in os.environ if name.startswith(("OS_", "NOVA"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    with requests_mock.Mocker() as mocker:
        yield Cloud(mocker)


@pytest.fixture
def nova(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run ``nova`` with these arguments, as a user with a password or with a token."""

    def run(*argv: str, token: bool = False) -> Result:
        capsys.readouterr()
        status = 0
        credentials = ["--os-token", "T"] if token else ["--os-username", "u", "--os-password", "p"]
        try:
            shell.main(["--os-auth-url", KEYSTONE, "--os-project-name", "p", *credentials, *argv])
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        out, err = capsys.readouterr()
        assert err.startswith(DEPRECATION)
        return Result(status, out, err.removeprefix(DEPRECATION))

    return run


@pytest.fixture
def openstack(
    cloud: Cloud, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Run ``openstack`` with these arguments."""
    # What other tests have left there writes to streams that are closed by now.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr("sys.argv", ["openstack"])

    def forget() -> None:
        """What the command leaves behind in the process: its log, and clients that it would use again."""
        logging.getLogger().handlers.clear()
        for value in vars(clientmanager.ClientManager).values():
            if isinstance(value, clientmanager.ClientCache):
                monkeypatch.setattr(value, "_handle", None)

    def run(*argv: str) -> Result:
        forget()
        capsys.readouterr()
        credentials = ["--os-username", "u", "--os-password", "p", "--os-project-name", "p"]
        domains = ["--os-user-domain-id", "d", "--os-project-domain-id", "d"]
        try:
            status = openstackclient.shell.main(["--os-auth-url", KEYSTONE, *credentials, *domains, *argv])
        except SystemExit as stop:
            status = int(stop.code or 0)
        return Result(status, *capsys.readouterr())

    return run


@pytest.fixture
def usb_session(cloud: Cloud) -> session.Session:
    """Somebody who has logged in."""
    auth = identity.V3Password(
        KEYSTONE, username="u", password="p", project_name="p", user_domain_id="d", project_domain_id="d"
    )
    return session.Session(auth=auth)


@pytest.fixture
def usb(usb_session: session.Session) -> client.Client:
    """The client as Horizon and ``openstack`` use it."""
    return client.from_session(usb_session)


@pytest.fixture(scope="session")
def make_device() -> Callable[..., dict[str, Any]]:
    """A device as the API sends it, a free stick but for what is given."""

    def make(**changes: Any) -> dict[str, Any]:
        return {
            "id": "8a0c2f5e-95a0-4d0f-8c5b-2f3d0c1f8e01",
            "name": "SanDisk Corp. Cruzer Blade",
            "vendor_id": "0781",
            "product_id": "5567",
            "vendor": "SanDisk",
            "product": "Cruzer Blade",
            "serial": "LABSTICK01",
            "device_class": "08",
            "speed": "480",
            "port": "2-1",
            "bus": 2,
            "device": 3,
            "state": "available",
            "reason_code": None,
            "state_reason": None,
            "state_since": "2026-11-23T00:00:00Z",
            "available": True,
            "kind": None,
            "server_id": None,
            "description": None,
            "enabled": True,
            "created_at": "2026-11-23T00:00:00+00:00",
            "updated_at": "2026-11-23T00:00:00+00:00",
        } | changes

    return make


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(client, "time", clock)
    return clock
