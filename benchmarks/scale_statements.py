# SPDX-License-Identifier: Apache-2.0
"""The SQL statements that an operation makes, and what MariaDB says that it reads for them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

# oslo.db's way to find out whether a pooled connection is still alive.
_PING = "SELECT 1"
_EXPLAINABLE = ("SELECT", "UPDATE", "DELETE")
# So few rows may be read by any statement.
_FEW_ROWS = 100


@dataclasses.dataclass(frozen=True)
class Read:
    """What MariaDB means to read of a table.

    :param rows: its estimate.
    :param how: "scan" of a table or of an index from end to end, "sort" of what was read.
    """

    table: str
    rows: int
    how: frozenset[str]


@contextlib.contextmanager
def recorded() -> Iterator[list[tuple[str, Any]]]:
    """The statements that this process executes meanwhile, whatever the engine, with their parameters."""
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _: Any, many: bool) -> None:
        if statement != _PING:
            statements.append((statement, parameters[0] if many else parameters))

    event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(sa.Engine, "before_cursor_execute", note)


def explained(engine: sa.Engine, statements: list[tuple[str, Any]]) -> dict[str, Read]:
    """For each table, the read of the most rows."""
    reads: dict[str, Read] = {}
    with engine.connect() as connection:
        for statement, parameters in statements:
            if not statement.startswith(_EXPLAINABLE):
                continue
            # "Output columns of EXPLAIN" in MariaDB's documentation.
            for row in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).mappings():
                read = Read(row["table"] or "", int(row["rows"] or 0), _how(row))
                if read.rows >= reads.get(read.table, read).rows:
                    reads[read.table] = read
    return reads


def _how(row: Any) -> frozenset[str]:
    how = set()
    if row["type"] in ("ALL", "index"):
        how.add("scan")
    if "filesort" in (row["Extra"] or ""):
        how.add("sort")
    return frozenset(how)


def grown(small: dict[str, Read], large: dict[str, Read]) -> list[Read]:
    """The reads that are of more than twice as many rows where there are more."""
    return [
        read
        for table, read in large.items()
        if read.rows > max(_FEW_ROWS, 2 * (small[table].rows if table in small else 0))
    ]
