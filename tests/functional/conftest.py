# SPDX-License-Identifier: Apache-2.0
"""Databases of three kinds, and a small cloud on each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.functional import databases
from tests.functional.programs import Program
from tests.functional.world import World, tokens

KINDS = ["sqlite", "mariadb", "postgresql"]


@pytest.fixture(scope="session")
def mariadb() -> Iterator[databases.MariaDB]:
    """MariaDB, running."""
    server = databases.MariaDB()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[databases.PostgreSQL]:
    """PostgreSQL, running."""
    server = databases.PostgreSQL()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Gives the URL of an empty database of a kind."""

    def create(kind: str) -> str:
        if kind == "sqlite":
            return f"sqlite:///{tmp_path}/usb.sqlite"
        return request.getfixturevalue(kind).create_database()

    return create


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, new_database: Callable[[str], str]) -> str:
    """An empty database of every kind."""
    return new_database(request.param)


@pytest.fixture
def world(new_database: Callable[[str], str], tmp_path: Path) -> Iterator[World]:
    """A small cloud on SQLite."""
    with tokens():
        yield World(new_database("sqlite"), tmp_path)


@pytest.fixture
def every_world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """A small cloud on a database of every kind."""
    with tokens():
        yield World(database_url, tmp_path)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str, str], Program]]:
    """Starts a program (its module, its configuration), and sees to its end."""
    started: list[Program] = []

    def start_one(name: str, configuration: str) -> Program:
        started.append(Program(name, tmp_path, configuration))
        return started[-1]

    yield start_one
    for program in started:
        program.remove()
