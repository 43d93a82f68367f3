# SPDX-License-Identifier: Apache-2.0
"""What a program says of a database that it cannot use, and whether it waits for it."""

from __future__ import annotations

import sys

import pytest
import sqlalchemy as sa
from oslo_config import cfg
from oslo_db import exception as db_exception

from compute_shim.conf import database
from compute_shim.db import migrations, readiness
from compute_shim.db.api import Database
from compute_shim.db.readiness import Away, Refused
from tests.unit.db.test_states import empty_database


def configured(connection: str | None) -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    database.register(conf)
    conf([], default_config_files=[], default_config_dirs=[])
    conf.set_override("connection", connection, group="database")
    return conf


def at_revision(revision: str) -> Database:
    """A database whose schema is said to be of a revision."""
    db = empty_database()
    with db.engine().begin() as connection:
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(sa.text("INSERT INTO alembic_version VALUES (:it)"), {"it": revision})
    return db


def test_the_schema_of_this_release() -> None:
    db = at_revision(migrations.head())
    readiness.check(db)
    assert readiness.later_revision(db) is None


def test_no_schema() -> None:
    db = empty_database()
    with pytest.raises(Refused, match="has no schema"):
        readiness.check(db)
    assert readiness.later_revision(db) is None


def test_a_schema_of_an_earlier_release() -> None:
    db = at_revision("0001")
    with pytest.raises(Refused, match=r"too old \(0001\)"):
        readiness.check(db)
    assert readiness.later_revision(db) is None


def test_a_schema_of_a_later_release_is_no_obstacle() -> None:
    db = at_revision("later")
    readiness.check(db)
    assert readiness.later_revision(db) == "later"


def test_a_package_without_migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    db = at_revision("0001")
    monkeypatch.setattr("alembic.script.ScriptDirectory.get_current_head", lambda self: None)
    for ask in (readiness.check, readiness.later_revision):
        with pytest.raises(Refused, match="the installed package is incomplete"):
            ask(db)


def test_a_database_that_cannot_be_opened() -> None:
    with pytest.raises(Refused, match="There is no such database") as raised:
        readiness.check(Database(configured("sqlite:////missing/usb.sqlite")))
    assert raised.value.details == "unable to open database file"


def _operational(*arguments: object) -> sa.exc.OperationalError:
    return sa.exc.OperationalError("SELECT secret", {}, Exception(*arguments))


# As MariaDB, PostgreSQL and oslo.db say it.
AWAY = [
    db_exception.DBConnectionError(_operational(2003, "Can't connect to MySQL server on 'db'")),
    _operational(2013, "Lost connection to MySQL server during query"),
    _operational('connection to server at "db", port 5432 failed: Connection refused'),
    _operational(),
    sa.exc.TimeoutError("QueuePool limit of size 5 overflow 50 reached"),
]
REFUSED = [
    _operational(1044, "Access denied for user 'usb'@'%' to database 'usb'"),
    _operational(1045, "Access denied for user 'usb'@'%' (using password: YES)"),
    _operational(1049, "Unknown database 'usb'"),
    _operational(1130, "Host 'controller' is not allowed to connect to this MariaDB server"),
    _operational(1142, "SELECT command denied to user 'usb'@'%' for table 'alembic_version'"),
    _operational(1698, "Access denied for user 'usb'@'%'"),
    _operational('FATAL:  password authentication failed for user "usb"'),
    _operational("fe_sendauth: no password supplied"),
    _operational('FATAL:  no pg_hba.conf entry for host "controller"'),
    _operational('FATAL:  role "usb" does not exist'),
    _operational('FATAL:  role "usb" is not permitted to log in'),
    _operational('FATAL:  permission denied for database "usb"'),
    db_exception.DBError(
        sa.exc.ProgrammingError("SELECT secret", {}, Exception("permission denied for table"))
    ),
]


@pytest.mark.parametrize("error", AWAY, ids=str)
def test_what_may_end_by_itself_is_waited_for(error: Exception) -> None:
    found = readiness.unusable(error)
    assert (type(found), str(found)) == (Away, "The database does not answer.")


@pytest.mark.parametrize("error", REFUSED, ids=str)
def test_what_an_operator_must_change(error: Exception) -> None:
    found = readiness.unusable(error)
    assert (type(found), "does not let us in" in str(found)) == (Refused, True)


def test_a_database_that_is_not_there() -> None:
    found = readiness.unusable(
        db_exception.DBNonExistentDatabase("usb", _operational(1049, "Unknown database"))
    )
    assert (type(found), "There is no such database" in str(found)) == (Refused, True)


@pytest.mark.parametrize("wrapped", [False, True])
def test_what_the_database_said_is_told_in_one_line_without_the_statement(wrapped: bool) -> None:
    error: Exception = _operational("FATAL:  gone\n\taway ")
    found = readiness.unusable(db_exception.DBConnectionError(error) if wrapped else error)
    assert found.details == "FATAL: gone away"


URL = "mysql+pymysql://usb:s3cret@db.example:3307/usb"


def test_an_operator_is_told_what_to_look_at_if_a_database_does_not_answer() -> None:
    text = readiness.explain(configured(URL), Away("The database does not answer.", "gone"))
    assert text == (
        "Database usb at db.example:3307: The database does not answer."
        " Check that it runs, and [database] connection. gone"
    )


def test_a_refusal_says_itself_what_to_do() -> None:
    text = readiness.explain(configured(URL), Refused("There is no schema."))
    assert text == "Database usb at db.example:3307: There is no schema."


@pytest.mark.parametrize(
    ("connection", "address"),
    [
        ("mysql+pymysql://usb:s3cret@db.example/usb", "usb at db.example"),
        ("postgresql+psycopg2://usb:s3cret@/usb?host=/run/postgresql", "usb at localhost"),
        ("sqlite:////var/lib/usb.sqlite", "/var/lib/usb.sqlite at localhost"),
    ],
)
def test_a_database_is_named_without_its_password(connection: str, address: str) -> None:
    assert readiness.address(configured(connection)) == address


@pytest.mark.parametrize(
    ("connection", "text"),
    [
        (None, "[database] connection is not set"),
        ("s3cret", "[database] connection is not a valid URL"),
        ("carrier-pigeon://usb:s3cret@db/usb", "[database] connection is not a valid URL"),
        ("mysql+pymysql://usb:s3cret@db:port/usb", "[database] connection is not a valid URL"),
    ],
)
def test_a_connection_that_names_no_database(connection: str | None, text: str) -> None:
    with pytest.raises(Refused) as raised:
        readiness.database(configured(connection))
    assert str(raised.value).startswith(text)
    assert "s3cret" not in str(raised.value)


def test_a_driver_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(Refused, match=r"The driver of \[database\] connection is not installed: .*pymysql"):
        readiness.database(configured("mysql+pymysql://usb:s3cret@db/usb"))
