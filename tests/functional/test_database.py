# SPDX-License-Identifier: Apache-2.0
"""What holds on every kind of database: schema, text, and coming back after an outage."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import autogenerate, migration

from compute_shim.db import history, intent, migrations, models, queries
from compute_shim.objects import ReasonCode, State
from tests.functional.databases import MariaDB, PostgreSQL
from tests.functional.world import DEMO_PROJECT, SERVERS, STICKS, World, tokens


@pytest.fixture
def migrated(database_url: str, tmp_path: Path) -> Iterator[World]:
    """A small cloud whose tables are made by the migrations, on a database of every kind."""
    with tokens():
        yield World(database_url, tmp_path, migrated=True)


def test_migrations_make_what_the_models_say(migrated: World) -> None:
    with migrated.db.engine().connect() as connection:
        context = migration.MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert autogenerate.compare_metadata(context, models.Base.metadata) == []
    assert migrations.version(migrated.db) == migrations.head()


def test_upgrading_twice_changes_nothing(migrated: World) -> None:
    migrated.sync(STICK1={})
    migrations.upgrade(migrated.db)
    assert queries.device(migrated.db, migrated.device_id("STICK1")) is not None


def test_a_url_with_the_other_name_of_mariadb(mariadb: MariaDB, tmp_path: Path) -> None:
    """SQLAlchemy has a dialect ``mariadb``, whose errors oslo.db does not know."""
    url = mariadb.create_database().replace("mysql+", "mariadb+")
    with tokens():
        world = World(url, tmp_path, migrated=True)
        world.sync(STICK1={})
    assert migrations.version(world.db) == migrations.head()
    assert queries.device(world.db, world.device_id("STICK1")) is not None


def test_the_commands_of_an_operator(tmp_path: Path) -> None:
    file = tmp_path / "usb-shim.conf"
    file.write_text(f"[database]\nconnection = sqlite:///{tmp_path}/usb.sqlite\n")

    def manage(*arguments: str) -> str:
        command = [sys.executable, "-m", "compute_shim.cmd.manage", f"--config-file={file}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "none" in manage("db", "version")
    assert manage("db", "sync") == ""
    assert manage("db", "version").strip() == migrations.head()


HOSTILE = [
    "<script>alert(1)</script>",
    "' OR 1=1; DROP TABLE host_usb_devices; --",
    "{{7*7}} ${jndi:ldap://x} %s %(name)s %n",
    "\N{PILE OF POO}" * 63,  # 126 units of UTF-16: the longest string that a device can have
    "\N{RIGHT-TO-LEFT OVERRIDE}kcits",
    "ﬀ e\N{COMBINING ACUTE ACCENT} Å",
    "x" * 126,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_text_is_stored_as_it_is(every_world: World, text: str) -> None:
    every_world.sync(STICK1={"name": f"{text} {text}"[:255], "vendor": text, "product": text, "serial": text})
    answer = every_world.request("demo", "GET", f"/v1/devices/{every_world.device_id('STICK1')}")
    device = answer.json["device"]
    assert (device["vendor"], device["product"], device["serial"]) == (text, text, text)
    assert device["name"] == f"{text} {text}"[:255]


def test_text_that_no_database_holds_is_replaced(every_world: World) -> None:
    """An agent cleans text; one that does not must not be able to stop the others."""
    every_world.sync(
        STICK1={"vendor": "a\x00b\ud800c\nd", "name": "n" * 1000, "blocked_reason": "r" * 5000},
        STICK2={},
    )
    bad, good = (every_world.device_id(name) for name in ("STICK1", "STICK2"))
    device = every_world.request("demo", "GET", f"/v1/devices/{bad}").json["device"]
    assert device["vendor"] == "a\ufffdb\ufffdc\ufffdd"
    assert device["name"] == "n" * 255
    shown = every_world.request("admin", "GET", f"/v1/devices/{bad}").json["device"]
    assert shown["state_reason"] == "r" * 1000
    assert every_world.request("demo", "GET", f"/v1/devices/{good}").json["device"]["available"]


def test_identities_that_look_alike_are_two_devices(every_world: World) -> None:
    """No database may take one for the other: case, accents, width."""
    serials = [
        "serial",
        "SERIAL",
        "sérial",
        "\N{FULLWIDTH LATIN SMALL LETTER S}erial",
        "serial\N{ZERO WIDTH SPACE}",
    ]
    devices = [
        dataclasses.asdict(STICKS["STICK1"]) | {"identity": f"0781:5567:{serial}", "serial": serial}
        for serial in serials
    ]
    claims = every_world.conductor.sync({}, "compute1", "", "1.0", devices)
    assert len({claim["device_id"] for claim in claims}) == len(serials)
    again = every_world.conductor.sync({}, "compute1", "", "1.0", devices)
    assert sorted(claim["identity"] for claim in again) == sorted(claim["identity"] for claim in claims)


def test_pages_hold_everything_once(every_world: World) -> None:
    devices = [
        dataclasses.asdict(STICKS["STICK1"]) | {"identity": f"0781:5567:{number}"} for number in range(17)
    ]
    every_world.conductor.sync({}, "compute1", "", "1.0", devices)
    seen: list[str] = []
    path: str | None = "/v1/devices?limit=5&state=available"
    while path:
        page: dict[str, Any] = every_world.request("demo", "GET", path).json
        assert len(page["devices"]) <= 5
        seen += [device["id"] for device in page["devices"]]
        path = next((link["href"] for link in page.get("devices_links", [])), None)
    assert len(seen) == len(set(seen)) == len(devices)


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_the_service_comes_back_with_its_database(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server: MariaDB | PostgreSQL = request.getfixturevalue(kind)
    with tokens():
        world = World(server.create_database(), tmp_path)
        world.sync(STICK1={})
        device_id = world.device_id("STICK1")
        server.kill()
        try:
            answer = world.request("demo", "GET", "/v1/devices")
            assert answer.status_int == 503
            assert "database" in answer.json["error"]["message"]
            assert world.attach("demo", SERVERS["DEMO"].id, device_id).status_int == 503
        finally:
            server.start()
        assert world.attach("demo", SERVERS["DEMO"].id, device_id).status_int == 202
        world.report(device_id, State.ATTACHED)
        assert world.sync(STICK1={})[0]["server_id"] == SERVERS["DEMO"].id


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_what_a_lost_connection_cut_off_is_done_again(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The whole transaction, because nobody knows what the database has done of it."""
    server: MariaDB | PostgreSQL = request.getfixturevalue(kind)
    world = World(server.create_database(), tmp_path)
    world.sync(STICK1={})
    device_id = world.device_id("STICK1")
    cuts: list[str] = []

    def cut(connection, cursor, text, parameters, context, many) -> None:  # type: ignore[no-untyped-def]
        if text.startswith("INSERT INTO usb_device_events") and not cuts:
            cuts.append(text)
            server.cut(cursor.connection)

    sa.event.listen(world.db.engine(), "before_cursor_execute", cut)
    assert intent.claim(world.db, device_id, SERVERS["DEMO"].id, DEMO_PROJECT)
    assert len(cuts) == 1
    row = queries.device(world.db, device_id)
    assert row is not None
    assert (row.instance_uuid, row.generation) == (SERVERS["DEMO"].id, 1)
    assert len(history.page(world.db, history.Filter(device_id))) == 2


def test_events_may_be_more_than_32_bits_count(every_world: World) -> None:
    every_world.sync(STICK1={})
    device_id = every_world.device_id("STICK1")
    with every_world.db.engine().begin() as connection:
        first = {"device_id": device_id, "cause": "requested", "state": State.AVAILABLE}
        connection.execute(sa.insert(models.Event).values(id=2**31 + 7, **first))
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text(f"ALTER SEQUENCE usb_device_events_id_seq RESTART WITH {2**31 + 8}"))
    every_world.sync()
    every_world.attach("demo", SERVERS["DEMO"].id, device_id)
    [latest, inserted, *_] = history.page(every_world.db, history.Filter(device_id))
    assert (latest.id, inserted.id) == (2**31 + 8, 2**31 + 7)
    assert latest.cause_code == ReasonCode.UNPLUGGED


def test_mariadb_locks_rows_and_no_gaps(new_database: Callable[[str], str], tmp_path: Path) -> None:
    """On each connection, that of oslo.db's first test included."""
    world = World(new_database("mariadb"), tmp_path)
    with world.db.reader() as one, world.db.writer() as other:
        for session in (one, other):
            assert session.connection().get_isolation_level() == "READ COMMITTED"


def test_one_writer_waits_for_another_on_sqlite(world: World) -> None:
    """A transaction that reads first and then writes must not fail because another one does the same."""
    world.sync(STICK1={})
    with world.db.writer() as session:
        session.get(models.Host, "compute1")
        with pytest.raises(sa.exc.OperationalError, match="locked"), world.db.engine().connect() as other:
            other.exec_driver_sql("PRAGMA busy_timeout = 10")
            other.exec_driver_sql("UPDATE usb_hosts SET version = '2'")
