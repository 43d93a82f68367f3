# SPDX-License-Identifier: Apache-2.0
"""Programs that cannot do their work, and what they say about it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.functional import amqp, databases, json_server
from tests.functional.programs import PATIENCE, Program, connection, create_schema

Start = Callable[[str, str], Program]

_FAKE_BUS = "[DEFAULT]\ntransport_url = fake:///\n"
_PROGRAMS = ["agent", "conductor", "manage", "status"]


def _sqlite(directory: Path) -> str:
    return create_schema(directory, f"sqlite:///{directory}/usb.sqlite")


def _says(program: Program, *texts: str) -> None:
    """It has ended, and stderr has one line with these texts and without the password."""
    assert program.end() == 1, program.log
    assert program.errors.count("\n") == 1, program.errors
    for text in texts:
        assert text in program.errors
    assert "Traceback" not in program.log
    assert "s3cret" not in program.log + program.errors


# The message bus.


@pytest.mark.parametrize("name", ["agent", "conductor"])
@pytest.mark.parametrize(
    ("code", "text"), [(403, "ACCESS_REFUSED - Login was refused"), (530, "NOT_ALLOWED - vhost x not found")]
)
def test_a_message_bus_that_refuses_us(name: str, code: int, text: str, start: Start, tmp_path: Path) -> None:
    with amqp.refusing(code, text) as address:
        url = f"rabbit://usb:s3cret@{address}/x"
        running = start(name, f"[DEFAULT]\ntransport_url = {url}\n{_sqlite(tmp_path)}")
        _says(running, f"usb-shim-{name}: ", address, text, "transport_url")


@pytest.mark.parametrize("name", ["agent", "conductor"])
@pytest.mark.parametrize(
    "url",
    ["carrier-pigeon://usb:s3cret@bus/", "rabbit://usb:s3cret@bus:s3cret/", "rabbit://usb@[bus:s3cret/"],
)
def test_a_transport_url_that_is_none(name: str, url: str, start: Start, tmp_path: Path) -> None:
    running = start(name, f"[DEFAULT]\ntransport_url = {url}\n{_sqlite(tmp_path)}")
    _says(running, f"usb-shim-{name}: ", "transport_url")


def test_a_message_bus_that_is_away_is_waited_for(start: Start, tmp_path: Path) -> None:
    # Nobody listens on port 1 (tcpmux).
    url = "rabbit://usb:s3cret@127.0.0.1:1/"
    running = start("conductor", f"[DEFAULT]\ntransport_url = {url}\n{_sqlite(tmp_path)}")
    running.logs("Connecting to the message bus at 127.0.0.1:1/")
    running.logs("Still waiting for the message bus at 127.0.0.1:1/")
    assert running.terminate() == 0
    assert "s3cret" not in running.log + running.errors


# The database.


@pytest.fixture(params=["mariadb", "postgresql"])
def server(request: pytest.FixtureRequest) -> databases.Server:
    """A database server."""
    found: databases.Server = request.getfixturevalue(request.param)
    return found


def _as_nobody(url: str) -> str:
    return sa.make_url(url).set(username="nobody", password="s3cret").render_as_string(hide_password=False)


def test_a_database_that_does_not_know_the_user(start: Start, server: databases.Server) -> None:
    running = start("conductor", _FAKE_BUS + connection(_as_nobody(server.create_database())))
    _says(running, "does not let us in", "nobody", "[database] connection")


def test_no_such_database(start: Start, server: databases.Server) -> None:
    url = sa.make_url(server.create_database()).set(database="missing")
    running = start("conductor", _FAKE_BUS + connection(url.render_as_string(hide_password=False)))
    _says(running, "Database missing at localhost", "There is no such database")


def test_a_database_without_a_schema(start: Start, database_url: str) -> None:
    running = start("conductor", _FAKE_BUS + connection(database_url))
    _says(running, "has no schema", "usb-shim-manage db sync")


@pytest.mark.parametrize("revision", ["0001", "from-the-future"])
def test_a_schema_of_another_release(revision: str, start: Start, database_url: str, tmp_path: Path) -> None:
    configuration = create_schema(tmp_path, database_url)
    with sa.create_engine(database_url).begin() as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = :now"), {"now": revision})
    running = start("conductor", _FAKE_BUS + configuration)
    if revision == "0001":
        _says(running, "too old (0001)", "usb-shim-manage db sync")
    else:
        running.logs("Serving agents")
        assert running.terminate() == 0


@pytest.mark.parametrize(
    "url", ["s3cret", "mysql+pymysql://usb:pass@word:s3cret@db/usb", "mysql+s3cret://db/usb"]
)
def test_a_database_url_that_is_none(url: str, start: Start) -> None:
    running = start("conductor", f"{_FAKE_BUS}[database]\nconnection = {url}\n")
    assert running.end() == 1
    assert "[database] connection" in running.errors
    assert running.errors.count("\n") == 1


def test_a_database_that_is_away_is_waited_for(start: Start) -> None:
    url = "mysql+pymysql://usb:s3cret@127.0.0.1:1/usb"
    running = start("conductor", _FAKE_BUS + connection(url))
    running.logs("Database usb at 127.0.0.1:1: The database does not answer.")
    assert running.terminate() == 0
    assert "s3cret" not in running.log + running.errors


def test_a_database_that_comes_later(start: Start, tmp_path: Path) -> None:
    server = databases.PostgreSQL()
    try:
        server.start()
        configuration = create_schema(tmp_path, server.create_database())
        server.kill()
        running = start("conductor", _FAKE_BUS + configuration)
        running.logs("The database does not answer.")
        server.start()
        running.logs("Serving agents")
        assert running.terminate() == 0
    finally:
        server.remove()


def test_a_database_that_hangs_does_not_keep_the_conductor_from_stopping(start: Start, silent: str) -> None:
    running = start("conductor", _FAKE_BUS + connection(f"mysql+pymysql://usb:s3cret@{silent}/usb"))
    running.logs("started, configuration files: ")
    assert running.terminate() == 0, running.errors


@pytest.fixture
def silent() -> Iterator[str]:
    """HOST:PORT where connections are accepted and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def _one_line(done: subprocess.CompletedProcess[str], *texts: str) -> None:
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    for text in texts:
        assert text in done.stderr
    assert "s3cret" not in done.stderr
    assert "Traceback" not in done.stdout


def _manage(directory: Path, url: str, *command: str) -> subprocess.CompletedProcess[str]:
    file = directory / "usb-shim.conf"
    file.write_text(connection(url))
    return _run("manage", f"--config-file={file}", *command)


def test_a_sync_by_a_user_that_the_database_does_not_know(server: databases.Server, tmp_path: Path) -> None:
    done = _manage(tmp_path, _as_nobody(server.create_database()), "db", "sync")
    _one_line(done, "does not let us in", "nobody", "[database] connection", f"{tmp_path}/usb-shim.conf")


def test_a_sync_of_a_database_that_is_away_ends_at_once(tmp_path: Path) -> None:
    done = _manage(tmp_path, "mysql+pymysql://usb:s3cret@127.0.0.1:1/usb", "db", "sync")
    _one_line(done, "Database usb at 127.0.0.1:1: The database does not answer.", "[database] connection")


def test_a_sync_of_a_schema_of_a_later_release(database_url: str, tmp_path: Path) -> None:
    create_schema(tmp_path, database_url)
    with sa.create_engine(database_url).begin() as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = 'later'"))
    done = _manage(tmp_path, database_url, "db", "sync")
    _one_line(done, "of a later release (later)", "Upgrade this machine's package")


@pytest.mark.parametrize(
    "command",
    [
        ["history", "purge"],
        ["host", "delete", "compute1"],
        ["claims", "release-absent"],
        ["placement", "clean"],
    ],
)
def test_a_command_that_needs_the_schema(command: list[str], database_url: str, tmp_path: Path) -> None:
    _one_line(_manage(tmp_path, database_url, *command), "has no schema", "usb-shim-manage db sync")


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("compute_shim.cmd.manage", ["db", "sync"]),
        ("compute_shim.cmd.conductor", []),
        ("compute_shim.wsgi.api", []),
    ],
)
def test_the_driver_of_the_database_is_not_installed(module: str, command: list[str], tmp_path: Path) -> None:
    file = tmp_path / "usb-shim.conf"
    file.write_text(_FAKE_BUS + connection("mysql+pymysql://usb:s3cret@127.0.0.1:1/usb"))
    code = (
        f"import runpy, sys; sys.modules['pymysql'] = None;"
        f" sys.argv = ['program', '--config-file={file}', *{command}];"
        f" runpy.run_module({module!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OS_USB_SHIM_CONFIG_FILES": str(file)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    done.returncode = min(done.returncode, 1)  # that of the API has a meaning for WSGI servers
    _one_line(done, "The driver of [database] connection is not installed", "pymysql", str(file))


# Nova.


def _keystone(method: str, path: str, here: str, sent: Any) -> tuple[int, Any]:
    """Lets nobody in."""
    if method == "POST":
        return 401, {"error": {"code": 401, "message": "No such user."}}
    link = {"rel": "self", "href": f"{here}/v3/"}
    return 200, {"version": {"id": "v3.14", "status": "stable", "links": [link]}}


@pytest.fixture
def keystone() -> Iterator[str]:
    """The URL of a Keystone that takes no credentials."""
    with json_server.serve(_keystone) as address:
        yield f"{address}/v3"


def test_wrong_credentials_of_nova_are_no_reason_to_end(start: Start, tmp_path: Path, keystone: str) -> None:
    credentials = (
        f"[nova]\nauth_type = password\nauth_url = {keystone}\nusername = usb\npassword = s3cret\n"
        "user_domain_id = default\nproject_name = service\nproject_domain_id = default\n"
    )
    running = start("conductor", _FAKE_BUS + _sqlite(tmp_path) + credentials)
    running.logs("Nova refuses the credentials of [nova]")
    running.logs("Serving agents")
    assert running.terminate() == 0
    assert "s3cret" not in running.log + running.errors


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("auth_type = pasword", "[nova] auth_type"),
        ("auth_type = password", "[nova] auth_url is not set"),
        ("auth_type = password\nauth_url = http://keystone.example/v3\nusername = usb", "[nova] password"),
    ],
)
def test_credentials_of_nova_that_are_incomplete(
    text: str, option: str, start: Start, tmp_path: Path
) -> None:
    running = start("conductor", f"{_FAKE_BUS}{_sqlite(tmp_path)}[nova]\n{text}\n")
    _says(running, "usb-shim-conductor: ", option, f"{tmp_path}/conductor.conf")


# Options.


def _run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"compute_shim.cmd.{name}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)


@pytest.mark.parametrize("name", _PROGRAMS)
@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("[api]\nmax_limit = 0\n", "[api] max_limit"),
        ("[DEFAULT]\ndebug = perhaps\n", "--debug"),
        ("[agent]\nsync_interval = soon\n", "[agent] sync_interval"),
        ("[metrics]\nport = 70000\n", "[metrics] port"),
        ("[DEFAULT]\nhost = compute#1\n", "[DEFAULT] host"),
    ],
)
def test_a_bad_value_is_one_line(name: str, text: str, option: str, tmp_path: Path) -> None:
    file = tmp_path / "usb-shim.conf"
    file.write_text(text)
    commands = {"manage": ["db", "version"], "status": ["upgrade", "check"]}
    done = _run(name, f"--config-file={file}", *commands.get(name, []))
    assert done.returncode == (2 if name == "status" else 1)
    assert done.stderr.startswith(f"usb-shim-{name}: ")
    assert done.stderr.count("\n") == 1
    assert option in done.stderr
    assert str(file) in done.stderr


def test_a_malformed_rule_stops_the_agent(start: Start) -> None:
    rules = '[usb]\ndevice_spec = {"port": "1-1"}\ndevice_spec = {"serial": "A$BC", "vendor_id": 781}\n'
    running = start("agent", _FAKE_BUS + rules)
    _says(running, "[usb] device_spec: 781 is no vendor_id", "four hexadecimal digits in quotes", '"A$BC"')


@pytest.mark.parametrize("name", _PROGRAMS)
def test_every_program_knows_its_version(name: str) -> None:
    done = _run(name, "--version")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usb-shim-{name} ")


@pytest.mark.parametrize(
    ("name", "missing", "extra"), [("agent", "libvirt", "compute"), ("status", "alembic", "service")]
)
def test_a_program_without_its_libraries(name: str, missing: str, extra: str) -> None:
    code = (
        f"import runpy, sys; sys.modules[{missing!r}] = None; sys.argv = ['usb-shim-{name}'];"
        f" runpy.run_module('compute_shim.cmd.{name}', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert done.stderr.startswith(f"usb-shim-{name}: ")
    assert f"pip install openstack-usb-passthrough[{extra}]" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_log_that_cannot_be_written(start: Start, tmp_path: Path) -> None:
    running = start("conductor", f"[DEFAULT]\nlog_dir = {tmp_path}/missing\n{_sqlite(tmp_path)}")
    _says(running, "The log cannot be written", f"{tmp_path}/missing", "log_dir")


def test_a_port_for_metrics_that_is_taken(start: Start, tmp_path: Path, silent: str) -> None:
    port = silent.rpartition(":")[2]
    running = start("conductor", f"{_FAKE_BUS}{_sqlite(tmp_path)}[metrics]\nenabled = true\nport = {port}\n")
    _says(running, "Metrics cannot be served", port, "[metrics]")
