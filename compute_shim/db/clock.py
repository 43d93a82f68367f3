# SPDX-License-Identifier: Apache-2.0
"""The database's own clock, on which programs on hosts whose clocks differ agree."""

from __future__ import annotations

import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext import compiler
from sqlalchemy.sql import expression


class InSeconds(expression.ColumnElement[datetime.datetime]):
    """The database's own time so many seconds from now, in UTC without a zone."""

    inherit_cache = False
    type = sa.DateTime()

    def __init__(self, seconds: int) -> None:
        self.seconds = int(seconds)


@compiler.compiles(InSeconds, "sqlite")
def _sqlite(element: InSeconds, compiler: Any, **options: Any) -> str:
    # In the form in which SQLAlchemy stores a time, which sorts as text.
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', '{element.seconds:+d} seconds')"


@compiler.compiles(InSeconds, "postgresql")
def _postgresql(element: InSeconds, compiler: Any, **options: Any) -> str:
    return f"(clock_timestamp() AT TIME ZONE 'UTC' + INTERVAL '{element.seconds} seconds')"


@compiler.compiles(InSeconds, "mysql")
def _mysql(element: InSeconds, compiler: Any, **options: Any) -> str:
    return f"(UTC_TIMESTAMP() + INTERVAL {element.seconds} SECOND)"
