# SPDX-License-Identifier: Apache-2.0
"""Classify database errors, and limit how long a statement may take."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db_exception

# Of errors that are not of the class OperationalError, those that an operator mends and not a programmer.
# PostgreSQL: Appendix A, "PostgreSQL Error Codes"; MariaDB: "MariaDB Error Codes".
_CODES = {
    "42P01",  # undefined_table
    "42703",  # undefined_column
    "42501",  # insufficient_privilege
    "25006",  # read_only_sql_transaction
    1146,  # ER_NO_SUCH_TABLE
    1142,  # ER_TABLEACCESS_DENIED_ERROR
    1290,  # ER_OPTION_PREVENTS_STATEMENT: read_only
    1792,  # ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
    1836,  # ER_READ_ONLY_MODE
}

_UNAVAILABLE = (
    db_exception.DBConnectionError,
    db_exception.DBDeadlock,
    db_exception.DBNonExistentTable,
    db_exception.DBNonExistentDatabase,
    db_exception.CantStartEngineError,
    sa.exc.OperationalError,
    sa.exc.TimeoutError,  # no connection of the pool became free
)


def unavailable(error: BaseException) -> bool:
    """Whether the database cannot be used now: it is down, read-only, overloaded or without our tables.

    Every other database error is a bug.
    """
    if isinstance(error, _UNAVAILABLE):
        return True
    if isinstance(error, db_exception.DBError):
        return error.inner_exception is not None and unavailable(error.inner_exception)
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    code = getattr(error.orig, "pgcode", None) or next(iter(getattr(error.orig, "args", ())), None)
    return code in _CODES


def summary(error: BaseException) -> str:
    """An error in one line, without the statement."""
    line = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {line}"


def limited(options: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Options of oslo.db by which each statement, and each wait for a connection, fails after some seconds.

    :param options: those of ``[database]``; what the URL says of its own timeouts stays.
    """
    url = sa.make_url(options["connection"])
    backend = url.get_backend_name()
    if backend == "mysql":
        # https://pymysql.readthedocs.io/en/latest/modules/connections.html
        limits = dict.fromkeys(
            ("connect_timeout", "read_timeout", "write_timeout"), f"{max(1, round(seconds))}"
        )
    elif backend == "postgresql":
        # PostgreSQL, "Parameter Key Words". libpq takes a limit of one second for two.
        limits = {
            "connect_timeout": f"{max(2, round(seconds))}",
            "options": f"-c statement_timeout={int(seconds * 1000)}",
        }
    else:
        # SQLite is a file of this machine, and has no pool.
        return options
    url = url.update_query_dict({name: value for name, value in limits.items() if name not in url.query})
    return {
        **options,
        "connection": url.render_as_string(hide_password=False),
        # Not at the start: all requests would wait for one another's tries.
        "max_retries": 0,
        "pool_timeout": min(options["pool_timeout"] or seconds, seconds),
    }
