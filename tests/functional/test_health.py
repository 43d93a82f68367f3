# SPDX-License-Identifier: Apache-2.0
"""What load balancers get, and what the log says of a request."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import webob
from oslo_context import context as oslo_context

from compute_shim import conf as configuration
from compute_shim.api import deploy
from compute_shim.conf import database
from compute_shim.db.api import Database
from tests.functional.programs import connection
from tests.functional.world import Keystone, Nova, Nudger, World

_DEEP = "/healthcheck/deep"


def _get(api: object, path: str, method: str = "GET") -> webob.Response:
    return webob.Request.blank(path, method=method).get_response(api)


@pytest.fixture
def api(tmp_path: Path) -> Callable[[str], object]:
    """Makes the API with a database of which nobody has made sure that it is there."""

    def make(url: str) -> object:
        file = tmp_path / "usb-shim.conf"
        file.write_text(connection(url) + "[keystone_authtoken]\nauth_type = none\n")
        conf = configuration.load([f"--config-file={file}"])
        database.register(conf)
        conf.set_override("max_retries", 0, group="database")
        db = Database(conf)
        return deploy.deploy(conf, db, Nova(), Keystone(), Nudger(db))

    return make


def test_all_is_well(every_world: World) -> None:
    answer = _get(every_world.api, _DEEP)
    assert (answer.status_int, answer.text, answer.content_type) == (200, "OK\n", "text/plain")


def test_head(world: World) -> None:
    answer = _get(world.api, _DEEP, "HEAD")
    assert (answer.status_int, answer.body) == (200, b"")


def test_a_database_without_a_schema(api: Callable[[str], object], database_url: str) -> None:
    shallow, deep = _get(api(database_url), "/healthcheck"), _get(api(database_url), _DEEP)
    assert shallow.status_int == 200
    assert (deep.status_int, deep.content_type) == (503, "text/plain")
    assert deep.text == "The database has no schema. Run usb-shim-manage db sync.\n"


def test_an_old_schema(world: World) -> None:
    with world.db.writer() as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    assert _get(world.api, _DEEP).status_int == 503


@pytest.mark.parametrize("scheme", ["mysql+pymysql", "postgresql+psycopg2"])
def test_a_database_that_is_away(
    scheme: str, api: Callable[[str], object], caplog: pytest.LogCaptureFixture
) -> None:
    # Nobody listens on port 1 (tcpmux).
    application = api(f"{scheme}://usb:s3cret@127.0.0.1:1/usb")
    for method in ("GET", "HEAD"):
        assert _get(application, _DEEP, method).status_int == 503
    assert _get(application, _DEEP).text == "The database does not answer.\n"
    assert _get(application, "/healthcheck").status_int == 200
    assert "127.0.0.1" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Accepts connections, and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_a_database_that_hangs_holds_nobody_up(api: Callable[[str], object], silent: socket.socket) -> None:
    port = silent.getsockname()[1]
    application = api(
        f"mysql+pymysql://usb:s3cret@127.0.0.1:{port}/usb?read_timeout=3600&connect_timeout=3600"
    )
    for _attempt in range(3):
        answer = _get(application, _DEEP)
        assert (answer.status_int, answer.text) == (503, "The database did not respond within 2 s.\n")
    # One connection, however often somebody asks.
    silent.accept()[0].close()
    silent.setblocking(False)
    with pytest.raises(BlockingIOError):
        silent.accept()


class _Contexts(logging.Handler):
    """Remembers whose request each line of the log belongs to."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str | None, str | None]] = []

    def emit(self, record: logging.LogRecord) -> None:
        current = oslo_context.get_current()
        assert current is not None
        self.seen.append((record.name, current.user_id, current.request_id))


def test_the_log_of_a_bad_token_does_not_name_the_caller_before(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    before = world.request("demo", "GET", "/v1/devices")
    assert before.status_int == 200
    contexts = _Contexts()
    logger = logging.getLogger("keystonemiddleware.auth_token")
    logger.addHandler(contexts)
    caplog.set_level(logging.DEBUG, logger.name)
    try:
        answer = world.request("forged", "GET", "/v1/devices")
    finally:
        logger.removeHandler(contexts)
    assert answer.status_int == 401
    assert contexts.seen
    for _name, user, request in contexts.seen:
        assert user is None
        assert request == answer.headers["X-Openstack-Request-Id"]
