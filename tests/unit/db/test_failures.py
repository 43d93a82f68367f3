# SPDX-License-Identifier: Apache-2.0
"""Which errors are the database's, and which are ours."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from oslo_db import exception as db_exception

from compute_shim.db import failures


class _PostgreSQLError(Exception):
    def __init__(self, code: str) -> None:
        super().__init__("no")
        self.pgcode = code


def _programming(orig: Exception) -> sa.exc.ProgrammingError:
    return sa.exc.ProgrammingError("SELECT secret", {}, orig)


@pytest.mark.parametrize(
    "error",
    [
        db_exception.DBConnectionError(),
        db_exception.DBDeadlock(),
        db_exception.DBNonExistentTable("t"),
        sa.exc.OperationalError("SELECT 1", {}, Exception("gone")),
        sa.exc.TimeoutError("QueuePool limit"),
        db_exception.DBError(_programming(_PostgreSQLError("42703"))),
        db_exception.DBError(_programming(_PostgreSQLError("25006"))),
        db_exception.DBNonExistentDatabase("usb"),
        db_exception.CantStartEngineError("no URL"),
        *(_programming(Exception(code, "no")) for code in (1142, 1146, 1290, 1792, 1836)),
        *(_programming(_PostgreSQLError(code)) for code in ("25006", "42501", "42703", "42P01")),
    ],
    ids=repr,
)
def test_the_database(error: Exception) -> None:
    assert failures.unavailable(error)


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        db_exception.DBError(),
        db_exception.DBDataError(),
        db_exception.DBDuplicateEntry(),
        db_exception.DBError(_programming(_PostgreSQLError("42601"))),
        _programming(Exception(1064, "You have an error in your SQL syntax")),
        _programming(Exception()),
    ],
    ids=repr,
)
def test_ours(error: Exception) -> None:
    assert not failures.unavailable(error)


def test_the_summary_is_one_line_without_the_statement() -> None:
    error = sa.exc.OperationalError("SELECT secret", {}, Exception("gone\naway"))
    assert failures.summary(error) == "OperationalError: (builtins.Exception) gone"


URLS = {
    "mysql+pymysql://u:p@h/d?read_timeout=60": {
        "connect_timeout": "3",
        "read_timeout": "60",
        "write_timeout": "3",
    },
    "mysql+pymysql://u:p@h/d?connect_timeout=60": {
        "connect_timeout": "60",
        "read_timeout": "3",
        "write_timeout": "3",
    },
    "postgresql+psycopg2://u:p@h/d": {"connect_timeout": "3", "options": "-c statement_timeout=3300"},
}


def test_sqlite_is_left_alone() -> None:
    options = {"connection": "sqlite://", "pool_timeout": None}
    assert failures.limited(options, 3.3) == options


@pytest.mark.parametrize("url", URLS)
def test_what_the_operator_has_set_stays(url: str) -> None:
    options = failures.limited({"connection": url, "pool_timeout": None}, 3.3)
    assert dict(sa.make_url(options["connection"]).query) == URLS[url]
    assert sa.make_url(options["connection"]).password == sa.make_url(url).password
    assert (options["max_retries"], options["pool_timeout"]) == (0, 3.3)


@pytest.mark.parametrize(
    ("url", "timeout"), [("mysql+pymysql://u:p@h/d", "1"), ("postgresql+psycopg2://u:p@h/d", "2")]
)
def test_no_limit_is_shorter_than_what_drivers_can_count(url: str, timeout: str) -> None:
    options = failures.limited({"connection": url, "pool_timeout": None}, 0.3)
    assert sa.make_url(options["connection"]).query["connect_timeout"] == timeout


@pytest.mark.parametrize(("pool_timeout", "limited"), [(1, 1), (30, 3.3), (0, 3.3)])
def test_the_wait_for_a_connection_is_only_made_shorter(pool_timeout: int, limited: float) -> None:
    options = {"connection": "mysql+pymysql://u:p@h/d", "pool_timeout": pool_timeout}
    assert failures.limited(options, 3.3)["pool_timeout"] == limited
