# SPDX-License-Identifier: Apache-2.0
"""What the programs of RPC 1.0 and database revision 0003 said to each other and to their database.

The files were written by `tests.functional.recorded.record` at the last commit of these versions and are not
to be edited; `old_tree` reads messages as the programs of that commit do. With them tests play an old agent
against the conductor, an old conductor against the agent, and an old API beside the conductor on a migrated
database.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

DIALECTS = ("sqlite", "mariadb", "postgresql")


@dataclasses.dataclass(frozen=True)
class Message:
    """A message on the bus, with what came back.

    :param what: what it is, for people; no two of the same in one list.
    :param server: the host that a nudge is for, None for the conductors.
    :param answer: of a call; None for a cast, and where it was refused.
    :param raises: ``type``, ``module`` and ``text`` of the exception with which it was refused.
    """

    what: str
    topic: str
    server: str | None
    method: str
    version: str
    arguments: dict[str, Any]
    answer: Any = None
    raises: dict[str, str] | None = None


@dataclasses.dataclass(frozen=True)
class Statement:
    """An SQL statement of the API.

    :param text: with the placeholders of the dialect's driver.
    :param parameters: for `sqlalchemy.Connection.exec_driver_sql`; times are text.
    :param rowcount: how many rows it changed or found, None for an INSERT.
    """

    text: str
    parameters: tuple[Any, ...] | dict[str, Any]
    rowcount: int | None = None


@dataclasses.dataclass(frozen=True)
class Operation:
    """What somebody asked of the API, and the statements that it executed for that, in their order."""

    name: str
    statements: tuple[Statement, ...]


@functools.cache
def _file(name: str) -> Any:
    return json.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))


def _messages(file: str, key: str) -> list[Message]:
    return [Message(**message) for message in _file(file)[key]]


def agent_messages() -> list[Message]:
    """What agents asked of a conductor, in the order in which they did.

    Between the messages the API gave devices to servers and took them back: the devices that a sync names and
    the claims that answer it, by identity, are the rows to which the next report belongs.
    """
    return _messages("agent_1_0.json", "messages")


def nudges() -> list[Message]:
    """What the API and a conductor told agents."""
    return _messages("agent_1_0.json", "nudges")


def texts() -> dict[str, list[str]]:
    """Every reason there was, by who said it."""
    return _file("agent_1_0.json")["texts"]


def conductor_answered() -> list[Message]:
    """Messages that say more or less than RPC 1.0, and that a conductor of 1.0 answered."""
    return _messages("conductor_1_0.json", "answered")


def conductor_refused() -> list[Message]:
    """Messages that a conductor of 1.0 refused."""
    return _messages("conductor_1_0.json", "refused")


def conductor_arguments(method: str) -> dict[str, bool]:
    """The arguments that a method of a conductor of 1.0 takes, and whether it needs them."""
    return {it["name"]: it["required"] for it in _file("conductor_1_0.json")["methods"][method]}


def api_statements(dialect: str) -> list[Operation]:
    """What the API did with its database, from `rows` on.

    :param dialect: one of `DIALECTS`.
    """
    recorded = _file("api_sql_1_0.json")["dialects"][dialect]
    return [
        Operation(
            operation["operation"],
            tuple(_statement(recorded["texts"], statement) for statement in operation["statements"]),
        )
        for operation in recorded["operations"]
    ]


def _statement(texts: list[str], statement: dict[str, Any]) -> Statement:
    parameters = statement["parameters"]
    return Statement(
        texts[statement["text"]],
        tuple(parameters) if isinstance(parameters, list) else parameters,
        statement.get("rowcount"),
    )


def revision() -> str:
    """The revision of the schema that the API knew."""
    return _file("api_sql_1_0.json")["revision"]


def schema() -> list[str]:
    """The statements that make this schema on SQLite."""
    return _file("api_sql_1_0.json")["schema"]


def rows() -> dict[str, list[dict[str, Any]]]:
    """Table -> its rows before the first operation; the database gives events their ids."""
    return _file("api_sql_1_0.json")["rows"]


def rows_after() -> dict[str, list[dict[str, Any]]]:
    """The same after the last operation."""
    return _file("api_sql_1_0.json")["rows_after"]


def inserts() -> dict[str, list[str]]:
    """Table -> the columns that the API names when it inserts a row."""
    return _file("api_sql_1_0.json")["inserts"]
