# SPDX-License-Identifier: Apache-2.0
"""The programs of the service, each as the process that it is."""

from __future__ import annotations

import dataclasses
import datetime
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from oslo_utils import timeutils

from compute_shim.db import history, models, queries, queue
from compute_shim.db.events import Actor
from compute_shim.db.leases import Lease
from compute_shim.objects import State
from tests.functional import json_server
from tests.functional.programs import Program, create_schema
from tests.functional.world import SERVERS, STICKS, World


@pytest.fixture
def conductor(start: Callable[[str, str], Program]) -> Callable[[str], Program]:
    """Starts a conductor."""
    return lambda configuration: start("conductor", configuration)


def _database(directory: Path) -> str:
    return create_schema(directory, f"sqlite:///{directory}/usb.sqlite")


def test_the_conductor_serves_until_it_is_told_to_stop(
    conductor: Callable[[str], Program], tmp_path: Path
) -> None:
    running = conductor(f"[DEFAULT]\ntransport_url = fake:///\n{_database(tmp_path)}")
    running.logs("Serving agents")
    assert running.terminate() == 0
    assert "devices of deleted servers are not given back" in running.log
    assert "Traceback" not in running.log + running.errors


def test_the_conductor_stops_while_the_message_bus_is_away(
    conductor: Callable[[str], Program], tmp_path: Path
) -> None:
    # Nobody listens on port 1 (tcpmux).
    running = conductor(
        f"[DEFAULT]\ntransport_url = rabbit://guest:guest@127.0.0.1:1/\n{_database(tmp_path)}"
    )
    running.logs("Connection refused")
    assert running.terminate() == 0


def test_a_conductor_without_a_database_says_so(conductor: Callable[[str], Program]) -> None:
    running = conductor("[DEFAULT]\ntransport_url = fake:///\n")
    assert running.end() == 1
    assert running.errors.startswith("usb-shim-conductor: ")
    assert "[database]" in running.errors
    assert "Traceback" not in running.log + running.errors


def _nova(method: str, path: str, here: str, sent: Any) -> tuple[int, Any]:
    """One compute host, and no server."""
    lists = {
        "/servers/detail": {"servers": []},
        "/os-services": {"services": [{"host": "compute1", "binary": "nova-compute"}]},
    }
    return (200, lists[path]) if path in lists else (404, {"itemNotFound": {"code": 404}})


@pytest.fixture
def nova() -> Iterator[str]:
    """The address of a Nova that knows no server."""
    with json_server.serve(_nova) as address:
        yield address


def _looks_at_once(directory: Path, nova: str) -> str:
    return (
        f"[DEFAULT]\ntransport_url = fake:///\n{_database(directory)}"
        f"[conductor]\ndeleted_server_interval = 1\n[nova]\nauth_type = none\nendpoint_override = {nova}\n"
    )


def test_the_conductor_gives_back_what_a_deleted_server_had(
    conductor: Callable[[str], Program], world: World, tmp_path: Path, nova: str
) -> None:
    world.sync(STICK1={})
    device_id = world.device_id("STICK1")
    world.attach("demo", SERVERS["DEMO"].id, device_id)
    world.nova.servers.clear()
    world.sync(STICK1={})
    world.report(device_id, "waiting", reason_code="domain_absent")
    running = conductor(_looks_at_once(tmp_path, nova))

    def given_back() -> bool:
        row = queries.device(world.db, device_id)
        return row is not None and row.state == State.DETACHING

    running.wait_until(given_back)
    assert running.terminate() == 0
    # It leaves its place to another one.
    assert Lease(world.db, "server-sync", "another", 60).acquire()


def test_the_conductor_looks_after_leases_lines_and_the_history(
    conductor: Callable[[str], Program], world: World, tmp_path: Path, nova: str
) -> None:
    """A lease is over, a server is in line for what is free, another one was deleted, and an event is old."""
    world.sync(STICK1={}, STICK2={})
    leased, free = world.device_id("STICK1"), world.device_id("STICK2")
    world.attach("demo", SERVERS["DEMO"].id, leased)
    for server, device_id in (("DEMO2", free), ("OTHER", leased)):
        queue.join(world.db, SERVERS[server].id, server, Actor("u", "r", server), device_id)
    with world.db.writer() as session:
        past = datetime.datetime(2001, 1, 1)
        session.execute(sa.update(models.Device).where(models.Device.id == leased).values(lease_until=past))
        session.execute(sa.update(models.Event).values(created_at=past))
        gone = models.Instance.instance_uuid == SERVERS["OTHER"].id
        session.execute(sa.delete(models.Instance).where(gone))
    notifications = "[oslo_messaging_notifications]\ndriver = log\n"
    running = conductor(_looks_at_once(tmp_path, nova) + notifications)

    def done() -> bool:
        rows = {row.id: row for row in queries.devices(world.db)}
        events = history.page(world.db, history.Filter())
        return (
            rows[leased].state == State.DETACHING
            and rows[free].instance_uuid == SERVERS["DEMO2"].id
            and not queue.waiting(world.db)
            and all(event.created_at > past for event in events)
        )

    running.wait_until(done)
    running.logs("usb_device.attach.start")
    # However often it looks: a call of Nova may take longer than the time between two passes.
    with world.db.reader() as session:
        ends = session.scalars(sa.select(models.Lease.expires_at)).all()
    assert min(ends) > timeutils.utcnow() + datetime.timedelta(seconds=30)
    assert running.terminate() == 0


def test_an_operator_releases_what_the_conductor_holds_back(
    conductor: Callable[[str], Program], world: World, tmp_path: Path, nova: str
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


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[api]\nmax_limit = 0\n", "[api] max_limit"),
        ("[DEFAULT]\ndebug = perhaps\n", "--debug"),
        ("[DEFAULT]\ntransport_url = carrier-pigeon://bus/\n", "transport_url"),
        ("[database]\nconnection = nowhere\n", "[database] connection"),
        ("", "[keystone_authtoken] auth_type is not set"),
        ("[keystone_authtoken]\nauth_type = pasword\n", "[keystone_authtoken] auth_type"),
        ("[keystone_authtoken]\nauth_type = password\n", "[keystone_authtoken] auth_url"),
    ],
)
def test_a_wsgi_application_with_a_bad_option_does_not_start(text: str, reason: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one.conf", tmp_path / "two.conf"
    one.write_text(f"[DEFAULT]\ntransport_url = fake:///\n{_database(tmp_path)}")
    two.write_text(text)
    done = _wsgi(f"{one};{two}")
    # The code that ends gunicorn (gunicorn/arbiter.py, WORKER_BOOT_ERROR).
    assert done.returncode == 3
    assert done.stderr.startswith("usb-shim-api: ")
    assert done.stderr.count("\n") == 1
    assert reason in done.stderr


def test_the_wsgi_application_logs_to_a_file_of_its_name(tmp_path: Path) -> None:
    file = tmp_path / "usb-shim.conf"
    file.write_text(
        f"[DEFAULT]\ntransport_url = fake:///\nlog_dir = {tmp_path}\n{_database(tmp_path)}"
        "[keystone_authtoken]\nauth_type = none\n"
    )
    done = _wsgi(str(file))
    assert "200 OK" in done.stdout, done.stderr
    assert [path.name for path in tmp_path.glob("*.log")] == ["usb-shim-api.log"]
    assert f"configuration files: {file}" in (tmp_path / "usb-shim-api.log").read_text()
