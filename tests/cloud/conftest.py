# SPDX-License-Identifier: Apache-2.0
"""The lab's cloud: the one that runs, or one that is started for the tests and stopped after them."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from keystoneauth1 import identity, session

import lab.cloud
from lab.cloud import compute, compute_host, lifecycle, site
from lab.cloud.process import wait_until
from lab.cloud.rest import Rest
from lab.cloud.site import COMPUTE_HOST, VENV, Site
from lab.guest import console
from lab.host import Host
from novaclient_usb import client
from tests.cloud.browser import SCREENSHOTS, Browser

_SERVER_SECONDS = 1200
# A guest boots on an emulated processor, beside two others.
_GUEST_SECONDS = 1200
# Each look starts a Python, on the processors that the guest boots on.
_GUEST_POLL_SECONDS = 3
_HALTING_IMAGE = "halting"


@dataclasses.dataclass(frozen=True)
class Cloud:
    """The cloud, as its users meet it."""

    site: Site
    host: Host

    @property
    def horizon(self) -> str:
        """The address of Horizon."""
        return f"http://localhost:{self.site.ports['horizon']}"

    def nova(self, user: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``nova`` as a user of the cloud; both streams and the exit status are what the user sees."""
        return self._run(user, "nova", *arguments)

    def openstack(self, user: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same with ``openstack``."""
        return self._run(user, "openstack", *arguments)

    def _run(self, user: str, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "OS_AUTH_URL": self.site.url("keystone", "/v3"),
            "OS_IDENTITY_API_VERSION": "3",
            "OS_REGION_NAME": "RegionOne",
            "OS_USERNAME": user,
            "OS_PASSWORD": self.site.passwords[user],
            "OS_USER_DOMAIN_ID": "default",
            "OS_PROJECT_NAME": user,
            "OS_PROJECT_DOMAIN_ID": "default",
            "PYTHONWARNINGS": "ignore",
        }
        return subprocess.run(
            [VENV / "bin" / command, *arguments], env=environment, capture_output=True, text=True, timeout=300
        )

    def usb(self, user: str) -> client.Client:
        """Our API as a user reaches it without the command line in between."""
        return client.from_session(self.session(user))

    def session(self, user: str) -> session.Session:
        """A user who has logged in."""
        auth = identity.V3Password(
            self.site.url("keystone", "/v3"),
            username=user,
            password=self.site.passwords[user],
            project_name=user,
            user_domain_id="default",
            project_domain_id="default",
        )
        return session.Session(auth=auth)

    def succeed(self, user: str, *arguments: str) -> str:
        """What the command prints; it must succeed."""
        done = self.nova(user, *arguments)
        assert done.returncode == 0, f"nova {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def fail(self, user: str, *arguments: str) -> str:
        """What the command says on stderr; it must fail, and without a traceback."""
        done = self.nova(user, *arguments)
        assert done.returncode == 1, f"nova {' '.join(arguments)}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr
        return done.stderr

    def server_id(self, user: str, name: str) -> str:
        """The id of a server of a user's."""
        found = re.search(r"\| id +\| ([0-9a-f-]{36})", self.succeed(user, "show", name))
        assert found is not None
        return found[1]

    def halting_image(self) -> str:
        """The name of an image for servers whose guest nobody needs; made if need be.

        Nova switches such a server off without asking its guest.
        """
        admin = Rest(self.site, "admin")
        if not admin.image.get("/images", params={"name": _HALTING_IMAGE}).json()["images"]:
            compute.add_halting_image(admin, _HALTING_IMAGE, {"os_shutdown_timeout": "0"})
        return _HALTING_IMAGE

    def guest_usb(self, server: str) -> list[str]:
        """What the guest itself sees, as ``python -m lab guest usb`` prints it."""
        done = subprocess.run(
            [VENV / "bin/python", "-m", "lab", "guest", "usb", server],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def guest_reads(self, server_id: str, serial: str) -> str | None:
        """What the guest reads at the beginning of the disk with a serial number."""
        return console.begins(compute_host.console(server_id), serial)

    def wait_guest(self, server: str, serial: str, present: bool) -> None:
        """Until the guest sees, or no longer sees, the device with a serial."""
        wait_until(
            lambda: any(serial in line for line in self.guest_usb(server)) == present,
            f"the guest of {server} {'does not see' if present else 'still sees'} {serial}",
            _GUEST_SECONDS,
            self.host.running,
            every=_GUEST_POLL_SECONDS,
        )

    def wait_booted(self, user: str, server: str) -> None:
        """Until the guest has said on its console that it is up."""
        wait_until(
            lambda: "READY" in self.succeed(user, "console-log", server),
            f"the guest of {server} does not boot",
            _GUEST_SECONDS,
            self.host.running,
            every=_GUEST_POLL_SECONDS,
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """While its guest boots, `demo` serves all tests that do not ask the guest itself."""
    items.sort(key=lambda item: "booted" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    started = not lifecycle.is_up()
    if started:
        assert lifecycle.up(more_servers=False) == 0
    try:
        it = Cloud(site.load(), Host(COMPUTE_HOST))
        if started:
            # Tests need the guest of `demo` only, and one more that boots takes the processor from it.
            lifecycle.create_more_servers(it.halting_image())
        admin = Rest(it.site, "admin")
        wait_until(
            lambda: all(compute.states(admin).get(name) == "ACTIVE" for name in compute.SERVERS),
            "the servers do not come up",
            _SERVER_SECONDS,
            it.host.running,
            every=1,
        )
        yield it
    finally:
        if started:
            lab.cloud.down()


@pytest.fixture(scope="session")
def booted(cloud: Cloud) -> None:
    """The guest of `demo` has booted. Tests with this come last."""
    cloud.wait_booted("demo", "demo")


@pytest.fixture(scope="session")
def operator(cloud: Cloud) -> client.Client:
    """Our API as an operator reaches it; no server has a device yet, not even from a demo."""
    usb = cloud.usb("admin")
    _detach_all(usb)
    return usb


@pytest.fixture(autouse=True)
def _give_everything_back(operator: client.Client) -> Iterator[None]:
    """No server has a device when a test begins."""
    yield
    _detach_all(operator)


def _detach_all(usb: client.Client) -> None:
    held = [device for device in usb.devices.list() if device["server_id"]]
    for device in held:
        usb.attachments.delete(device["server_id"], device["id"])
    for device in held:
        usb.attachments.wait_detached(device["server_id"], device["id"])


@pytest.fixture(scope="session")
def browsers(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Browser]]:
    """Each user's browser, logged in."""
    shutil.rmtree(SCREENSHOTS, ignore_errors=True)
    users: dict[str, Browser] = {}
    try:
        for user in ("demo", "other", "admin"):
            users[user] = Browser(cloud.horizon, tmp_path_factory.mktemp(f"chromium-{user}"))
            users[user].log_in(user, cloud.site.passwords[user])
        yield users
    finally:
        for browser in users.values():
            browser.quit()


@pytest.fixture
def demo(browsers: dict[str, Browser], request: pytest.FixtureRequest) -> Iterator[Browser]:
    """The browser of an ordinary user."""
    yield from _in_use(browsers["demo"], request)


@pytest.fixture
def other(browsers: dict[str, Browser], request: pytest.FixtureRequest) -> Iterator[Browser]:
    """The browser of a user of another project."""
    yield from _in_use(browsers["other"], request)


@pytest.fixture
def admin(browsers: dict[str, Browser], request: pytest.FixtureRequest) -> Iterator[Browser]:
    """The browser of the operator."""
    yield from _in_use(browsers["admin"], request)


def _in_use(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Browser]:
    yield browser
    browser.shot(f"end-of-{request.node.name}-{request.fixturename}")
