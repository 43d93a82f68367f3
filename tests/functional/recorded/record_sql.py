# SPDX-License-Identifier: Apache-2.0
"""The SQL of the API at database revision 0003; see `tests.functional.recorded.record`."""

from __future__ import annotations

import datetime
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from oslo_utils import timeutils

from compute_shim.db import migrations, models
from compute_shim.objects import State
from tests.functional import databases
from tests.functional.world import SERVERS, STICKS, World

_INSERT = re.compile(r"INSERT INTO (\w+) \(([^)]*)\)")
_TABLES = (models.Device.__table__, models.Event.__table__, models.Host.__table__)


class Recorder:
    """The statements about our tables that an engine executes while an operation goes on."""

    def __init__(self, engine: sa.Engine) -> None:
        self.texts: list[str] = []
        self.operations: list[dict[str, Any]] = []
        self._statements: list[dict[str, Any]] | None = None
        sa.event.listen(engine, "after_cursor_execute", self._executed)

    def operation(self, name: str, status: int, do: Callable[[], Any]) -> None:
        """Record what somebody does, which gets the HTTP status given."""
        timeutils.advance_time_seconds(1)
        self._statements = []
        answer = do()
        assert answer.status_int == status, answer.text
        self.operations.append({"operation": name, "statements": self._statements})
        self._statements = None

    def _executed(
        self, connection: Any, cursor: Any, text: str, parameters: Any, context: Any, many: bool
    ) -> None:
        if self._statements is None or not any(table.name in text for table in _TABLES):
            return
        assert not many
        if text not in self.texts:
            self.texts.append(text)
        statement = {"text": self.texts.index(text), "parameters": _plain(parameters)}
        if not text.startswith("INSERT"):
            statement["rowcount"] = self._rowcount(connection, cursor, text, parameters)
        self._statements.append(statement)

    def _rowcount(self, connection: Any, cursor: Any, text: str, parameters: Any) -> int:
        """How many rows a statement changed or finds; those that it found are not ours to take."""
        if not text.startswith("SELECT"):
            return cursor.rowcount
        again = connection.connection.cursor()
        again.execute(text, parameters)
        return len(again.fetchall())


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    # As SQLAlchemy writes times on SQLite, which compares them as text.
    return value.isoformat(" ", "microseconds") if isinstance(value, datetime.datetime) else value


def _prepare(world: World) -> None:
    """A free device, one that another project has, one whose attaching failed, one that is unplugged."""
    world.sync(**{name: {} for name in STICKS})
    world.attach("other", SERVERS["OTHER"].id, world.device_id("STICK2"))
    world.report(world.device_id("STICK2"), State.ATTACHED)
    world.attach("demo", SERVERS["DEMO"].id, world.device_id("STICK3"))
    world.report(world.device_id("STICK3"), State.FAILED, "the hypervisor did not attach it")
    world.sync(**{name: {} for name in STICKS if name != "STICK4"})


def _rows(world: World) -> dict[str, list[dict[str, Any]]]:
    """What is stored, but for the ids that the database itself gives to events."""
    found = {}
    with world.db.reader() as session:
        for table in _TABLES:
            given = table.autoincrement_column
            columns = [column for column in table.columns if column is not given]
            rows = session.execute(sa.select(*columns).order_by(*table.primary_key)).mappings()
            found[table.name] = [_plain(dict(row)) for row in rows]
    return found


def _play(world: World, recorder: Recorder) -> None:
    """Every operation of the API; none needs more than the one before and what is prepared."""
    free_id, taken_id, failed_id, gone_id = map(world.device_id, STICKS)
    free, taken, failed, gone = (f"/v1/devices/{it}" for it in (free_id, taken_id, failed_id, gone_id))
    demo = SERVERS["DEMO"].id
    attachments = f"/v1/servers/{demo}/attachments"

    def get(name: str, token: str, path: str) -> None:
        recorder.operation(name, 200, lambda: world.request(token, "GET", path))

    def patch(name: str, path: str, **changes: Any) -> None:
        recorder.operation(name, 200, lambda: world.request("admin", "PATCH", path, {"device": changes}))

    def attach(name: str, status: int, device_id: str) -> None:
        recorder.operation(name, status, lambda: world.attach("demo", demo, device_id))

    def forget(name: str, status: int, path: str) -> None:
        recorder.operation(name, status, lambda: world.request("admin", "DELETE", path))

    get("list devices as tenant", "demo", "/v1/devices")
    get("list devices as admin", "admin", "/v1/devices")
    get("list devices of a server", "demo", f"/v1/devices?server_id={demo}")
    get("list devices by state as tenant", "demo", "/v1/devices?state=unavailable")
    get("list devices by host as admin", "admin", "/v1/devices?host=compute1&vendor_id=0781&state=attached")
    get("list devices, the next page", "demo", f"/v1/devices?limit=1&marker={free_id}")
    get("show a device", "demo", free)
    get("show a device as admin", "admin", taken)
    get("list attachments", "demo", attachments)
    patch("describe", taken, description="Lizenz für Büro")
    patch("disable", free, enabled=False)
    patch("enable", free, enabled=True)
    attach("attach", 202, free_id)
    attach("attach again", 202, free_id)
    attach("attach refused because taken", 409, taken_id)
    attach("retry", 202, failed_id)
    recorder.operation("detach", 202, lambda: world.detach("demo", demo, failed_id))
    recorder.operation("detach again", 202, lambda: world.detach("demo", demo, failed_id))
    get("list events as tenant", "demo", f"{failed}/events")
    get("list events as admin", "admin", f"{failed}/events")
    get("list hosts", "admin", "/v1/hosts")
    get("show a host", "admin", "/v1/hosts/compute1")
    forget("forget refused because plugged in", 409, free)
    forget("forget", 204, gone)


def _schema(world: World) -> list[str]:
    with world.db.engine().connect() as connection:
        statement = sa.text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")
        return [sql for name, sql in connection.execute(statement) if name != "alembic_version"]


def recorded(same_at_every_run: Callable[[], AbstractContextManager[None]]) -> dict[str, Any]:
    """The statements in each dialect, with the rows that they find."""
    content: dict[str, Any] = {}
    after: dict[str, Any] = {}
    dialects = {}
    for dialect, connect in (("sqlite", _sqlite), ("mariadb", _mariadb), ("postgresql", _postgresql)):
        with tempfile.TemporaryDirectory() as name, connect(Path(name)) as url, same_at_every_run():
            world = World(url, Path(name), migrated=True)
            _prepare(world)
            if dialect == "sqlite":
                content = {
                    "revision": migrations.version(world.db),
                    "schema": _schema(world),
                    "rows": _rows(world),
                }
            recorder = Recorder(world.db.engine())
            _play(world, recorder)
            # The same in every dialect.
            assert after in ({}, _rows(world))
            after = _rows(world)
            world.db.engine().dispose()
        dialects[dialect] = {"texts": recorder.texts, "operations": recorder.operations}
    return {
        **content,
        "rows_after": after,
        "inserts": _inserts(dialects["sqlite"]["texts"]),
        "dialects": dialects,
    }


def _inserts(statements: list[str]) -> dict[str, list[str]]:
    """Table -> the columns that are named when a row is inserted."""
    found = [match for text in statements if (match := _INSERT.match(text))]
    return {match[1]: match[2].split(", ") for match in found}


@contextmanager
def _sqlite(directory: Path) -> Iterator[str]:
    yield f"sqlite:///{directory}/usb.sqlite"


@contextmanager
def _mariadb(directory: Path) -> Iterator[str]:
    yield from _served(databases.MariaDB())


@contextmanager
def _postgresql(directory: Path) -> Iterator[str]:
    yield from _served(databases.PostgreSQL())


def _served(server: databases.Server) -> Iterator[str]:
    try:
        server.start()
        yield server.create_database()
    finally:
        server.remove()
