# SPDX-License-Identifier: Apache-2.0
"""The programs of the service, each as the process that it is."""

from __future__ import annotations

import dataclasses
import datetime
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from oslo_utils import timeutils

from compute_shim.db import models, queries
from compute_shim.db.leases import Lease
from compute_shim.objects import State
from tests.functional.world import SERVERS, STICKS, World

_PATIENCE = 60


class Conductor:
    """``usb-shim-conductor`` with a configuration file of its own."""

    def __init__(self, directory: Path, configuration: str) -> None:
        file = directory / "conductor.conf"
        file.write_text(configuration)
        self._log = directory / "conductor.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "compute_shim.cmd.conductor", f"--config-file={file}"],
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_PATIENCE)


@pytest.fixture
def conductor(tmp_path: Path) -> Iterator[Callable[[str], Conductor]]:
    """Starts a conductor, and sees to its end."""
    started: list[Conductor] = []

    def start(configuration: str) -> Conductor:
        started.append(Conductor(tmp_path, configuration))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def _database(directory: Path) -> str:
    return f"[database]\nconnection = sqlite:///{directory}/usb.sqlite\n"


def test_the_conductor_serves_until_it_is_told_to_stop(
    conductor: Callable[[str], Conductor], tmp_path: Path
) -> None:
    running = conductor(f"[DEFAULT]\ntransport_url = fake:///\n{_database(tmp_path)}")
    running.wait_until(lambda: "Serving agents" in running.log)
    assert running.terminate() == 0
    assert "devices of deleted servers are not given back" in running.log
    assert "Traceback" not in running.log


def test_the_conductor_stops_while_the_message_bus_is_away(
    conductor: Callable[[str], Conductor], tmp_path: Path
) -> None:
    # Nobody listens on port 1 (tcpmux).
    running = conductor(
        f"[DEFAULT]\ntransport_url = rabbit://guest:guest@127.0.0.1:1/\n{_database(tmp_path)}"
    )
    running.wait_until(lambda: "Connection refused" in running.log)
    assert running.terminate() == 0


def test_a_conductor_without_a_database_says_so(conductor: Callable[[str], Conductor]) -> None:
    running = conductor("[DEFAULT]\ntransport_url = fake:///\n")
    assert running.process.wait(_PATIENCE) == 1
    assert running.log.startswith("usb-shim-conductor: ")
    assert "[database]" in running.log
    assert "Traceback" not in running.log


class _Nova(http.server.BaseHTTPRequestHandler):
    """Knows one compute host, and no server."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        lists = {
            "/servers/detail": {"servers": []},
            "/os-services": {"services": [{"host": "compute1", "binary": "nova-compute"}]},
        }
        body = json.dumps(lists.get(path, {"itemNotFound": {"code": 404}})).encode()
        self.send_response(200 if path in lists else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def nova() -> Iterator[str]:
    """The address of a Nova that knows no server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Nova) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _looks_at_once(directory: Path, nova: str) -> str:
    return (
        f"[DEFAULT]\ntransport_url = fake:///\n{_database(directory)}"
        f"[conductor]\ndeleted_server_interval = 1\n[nova]\nauth_type = none\nendpoint_override = {nova}\n"
    )


def test_the_conductor_gives_back_what_a_deleted_server_had(
    conductor: Callable[[str], Conductor], world: World, tmp_path: Path, nova: str
) -> None:
    world.sync(STICK1={})
    device_id = world.device_id("STICK1")
    world.attach("demo", SERVERS["DEMO"].id, device_id)
    world.report(device_id, "waiting", reason_code="domain_absent")
    running = conductor(_looks_at_once(tmp_path, nova))

    def given_back() -> bool:
        row = queries.device(world.db, device_id)
        return row is not None and row.state == State.DETACHING

    running.wait_until(given_back)
    assert running.terminate() == 0
    # It leaves its place to another one.
    assert Lease(world.db, "server-sync", "another", 60).acquire()


def test_an_operator_releases_what_the_conductor_holds_back(
    conductor: Callable[[str], Conductor], world: World, tmp_path: Path, nova: str
) -> None:
    file = tmp_path / "conductor.conf"
    sticks = [
        dataclasses.asdict(STICKS["STICK1"]) | {"identity": f"0781:5567:{number}"} for number in range(11)
    ]
    ids = [claim["device_id"] for claim in world.conductor.sync({}, "compute1", "QEMU", "1.1", sticks)]
    for device_id in ids:
        world.attach("demo", SERVERS["DEMO"].id, device_id)
        world.report(device_id, "waiting", reason_code="domain_absent")

    def release(*options: str) -> str:
        command = [sys.executable, "-m", "compute_shim.cmd.manage", f"--config-file={file}"]
        command += ["claims", "release-absent", *options]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def states() -> set[str]:
        return {row.state for row in queries.devices(world.db)}

    running = conductor(_looks_at_once(tmp_path, nova))
    running.wait_until(lambda: "usb-shim-manage claims release-absent" in running.log)
    assert running.terminate() == 0
    assert states() == {State.WAITING}
    # What is proven stays so for two intervals, and a program may take longer than two seconds to start.
    file.write_text(file.read_text().replace("interval = 1", "interval = 600"))
    with world.db.writer() as session:
        early = timeutils.utcnow() - datetime.timedelta(seconds=3600)
        session.execute(sa.update(models.Device).values(absent_since=early))
    listed = release()
    assert all(device_id in listed for device_id in ids)
    assert listed.endswith("11 claims of deleted servers. To release them, add --yes.\n")
    assert states() == {State.WAITING}
    assert release("--yes").endswith("11 claims released.\n")
    assert states() == {State.DETACHING}


def test_an_operator_deletes_a_host(world: World, tmp_path: Path) -> None:
    def delete(host: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "compute_shim.cmd.manage", f"--config-file={file}"]
        command += ["host", "delete", host]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    file = tmp_path / "manage.conf"
    file.write_text(_database(tmp_path))
    world.sync(STICK1={})
    refused = delete("compute1")
    assert (refused.returncode, "is up" in refused.stderr) == (1, True)
    world.silence("compute1")
    assert delete("compute1").returncode == 0
    assert queries.hosts(world.db) == []
    missing = delete("compute1")
    assert (missing.returncode, "No agent is registered" in missing.stderr) == (1, True)


_ASK = """
import sys, webob
from compute_shim.wsgi.api import application
print(webob.Request.blank('/').get_response(application).status)
print(sorted(name for name, module in sys.modules.items() if name == 'eventlet' and module))
"""


def _wsgi(files: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _ASK],
        env={**os.environ, "OS_USB_SHIM_CONFIG_FILES": files},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wsgi_application_is_configured_by_files(tmp_path: Path) -> None:
    one, two = tmp_path / "one.conf", tmp_path / "two.conf"
    one.write_text(f"[DEFAULT]\ntransport_url = fake:///\n{_database(tmp_path)}")
    two.write_text("[keystone_authtoken]\nauth_type = none\nwww_authenticate_uri = http://keystone.example\n")
    done = _wsgi(f"{one};{two}")
    assert done.stdout.splitlines()[-2:] == ["200 OK", "[]"], done.stderr


def test_a_wsgi_application_without_its_file_does_not_start(tmp_path: Path) -> None:
    done = _wsgi(f"{tmp_path}/missing.conf")
    assert done.returncode != 0
    assert "missing.conf" in done.stderr
