# SPDX-License-Identifier: Apache-2.0
"""What is executed on a database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import sqlalchemy as sa


@contextlib.contextmanager
def recorded(engine: sa.Engine) -> Iterator[list[str]]:
    """The SQL that is executed while this lasts; what begins and ends a transaction is not among it."""
    texts: list[str] = []

    def execute(connection, cursor, text, parameters, context, many) -> None:  # type: ignore[no-untyped-def]
        if text.split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE"):
            texts.append(text)

    sa.event.listen(engine, "before_cursor_execute", execute)
    try:
        yield texts
    finally:
        sa.event.remove(engine, "before_cursor_execute", execute)
