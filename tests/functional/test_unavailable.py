# SPDX-License-Identifier: Apache-2.0
"""A database that says no, in every way it can: 503, soon, and one line in the log."""

from __future__ import annotations

import contextlib
import logging
import socket
import tempfile
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import webob

from compute_shim.api import deploy
from compute_shim.db.api import Database
from tests.functional import databases
from tests.functional.world import World, tokens

# Seconds, far more than a request may take and far less than oslo.db would try to connect.
_LONG = 60


def _serve(world: World, connection: str | None = None) -> None:
    """Let the API use a database as a WSGI server does."""
    if connection is not None:
        world.conf.set_override("connection", connection, group="database")
    world.conf.set_override("request_timeout", 3, group="api")
    world.db = Database(world.conf, patience=1)
    world.api = deploy.deploy(world.conf, world.db, world.nova, world.keystone, world.nudger)


def _ask(world: World, method: str = "GET", path: str = "/v1/devices", body: Any = None) -> webob.Response:
    """The answer to an administrator."""
    with futures.ThreadPoolExecutor(1) as threads:
        return threads.submit(world.request, "admin", method, path, body).result(_LONG)


def _assert_unavailable(answer: webob.Response, caplog: pytest.LogCaptureFixture) -> None:
    assert (answer.status_int, answer.json["error"]["reason_code"]) == (503, "database_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    (line,) = [record for record in caplog.records if record.name.startswith("compute_shim")]
    assert line.levelno == logging.ERROR
    assert line.exc_info is None
    assert len(line.getMessage().splitlines()) == 1
    assert "WHERE" not in line.getMessage()
    assert "secret" not in caplog.text


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="usb-") as path:
        yield Path(path)


def _url(kind: str, directory: Path) -> str:
    if kind == "mariadb":
        return f"mysql+pymysql://usb:secret@localhost/usb?unix_socket={directory}/.s.PGSQL.5432"
    return f"postgresql+psycopg2://usb:secret@/usb?host={directory}"


@contextlib.contextmanager
def _hung(path: Path) -> Iterator[None]:
    """A server that takes connections and never says anything."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(10)
        yield


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_where_nobody_listens(
    kind: str, world: World, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _serve(world, _url(kind, directory))
    _assert_unavailable(_ask(world), caplog)


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_one_that_hangs(kind: str, world: World, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    with _hung(directory / ".s.PGSQL.5432"):
        _serve(world, _url(kind, directory))
        _assert_unavailable(_ask(world), caplog)


@pytest.fixture(params=["mariadb", "postgresql"])
def served(
    request: pytest.FixtureRequest, new_database: Callable[[str], str], tmp_path: Path
) -> Iterator[World]:
    """A small cloud on a database server, with one device."""
    with tokens():
        world = World(new_database(request.param), tmp_path)
        world.sync(STICK1={})
        yield world


def test_all_connections_are_in_use(served: World, caplog: pytest.LogCaptureFixture) -> None:
    served.conf.set_override("max_pool_size", 1, group="database")
    served.conf.set_override("max_overflow", 0, group="database")
    _serve(served)
    with served.db.engine().connect():
        _assert_unavailable(_ask(served), caplog)
    assert _ask(served).status_int == 200


@pytest.mark.parametrize(
    "statement", ["ALTER TABLE host_usb_devices DROP COLUMN description", "DROP TABLE host_usb_devices"]
)
def test_a_schema_that_is_not_ours(
    statement: str, every_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    _serve(every_world)
    with every_world.db.engine().begin() as connection:
        connection.execute(sa.text(statement))
    caplog.clear()
    _assert_unavailable(_ask(every_world), caplog)


def _patch(world: World) -> webob.Response:
    path = f"/v1/devices/{world.device_id('STICK1')}"
    return _ask(world, "PATCH", path, {"device": {"description": "changed"}})


def test_a_read_only_mariadb(
    new_database: Callable[[str], str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = new_database("mariadb")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)

    def execute(statement: str) -> None:
        with engine.connect() as connection:
            connection.execute(sa.text(statement))

    with tokens():
        world = World(url, tmp_path)
        world.sync(STICK1={})
        # It holds for all but administrators of the server.
        execute("CREATE USER usb@localhost IDENTIFIED BY 'secret'")
        execute("GRANT ALL ON *.* TO usb@localhost")
        execute("REVOKE SUPER, READ_ONLY ADMIN ON *.* FROM usb@localhost")
        _serve(world, url.replace("root@", "usb:secret@"))
        execute("SET GLOBAL read_only = 1")
        caplog.clear()
        try:
            _assert_unavailable(_patch(world), caplog)
            assert _ask(world).status_int == 200
        finally:
            execute("SET GLOBAL read_only = 0")
            execute("DROP USER usb@localhost")


def test_a_read_only_postgresql(
    new_database: Callable[[str], str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = new_database("postgresql")
    with tokens():
        world = World(url, tmp_path)
        world.sync(STICK1={})
        with world.db.engine().begin() as connection:
            name = sa.make_url(url).database
            connection.execute(sa.text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
        _serve(world)
        caplog.clear()
        _assert_unavailable(_patch(world), caplog)
        assert _ask(world).status_int == 200


def test_a_row_that_somebody_does_not_let_go(served: World, caplog: pytest.LogCaptureFixture) -> None:
    holder = Database(served.conf)
    _serve(served)
    with holder.writer() as session:
        session.execute(sa.text("SELECT id FROM host_usb_devices FOR UPDATE"))
        answer = _patch(served)
    assert answer.status_int == 503
    assert answer.json["error"]["reason_code"] in ("database_unavailable", "timeout")
    assert "Retry-After" in answer.headers
    assert _patch(served).status_int == 200


def test_it_comes_back(directory: Path, tmp_path: Path) -> None:
    """An API that was started before its database serves as soon as that is there."""
    server = databases.MariaDB()
    try:
        server.start()
        url = server.create_database()
        with tokens():
            world = World(url, tmp_path)
            world.sync(STICK1={})
            server.kill()
            _serve(world)
            assert _ask(world).status_int == 503
            server.start()
            assert _ask(world).status_int == 200
    finally:
        server.remove()
