# SPDX-License-Identifier: Apache-2.0
"""Transactions: which are done again, who is told of them, and how those on SQLite wait for one another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from oslo_config import cfg
from oslo_db import exception as db_exception
from oslo_utils import timeutils

from compute_shim.db import migrations, models
from compute_shim.db.api import AFTER_COMMIT, Database, retried
from tests.unit.db.test_readiness import configured
from tests.unit.db.test_states import empty_database

# Seconds, for what should take none.
_PATIENCE = 20


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody waits before the next try; how long each would have waited is kept."""
    pauses: list[float] = []
    # Not time.sleep itself: threads of other tests call it.
    monkeypatch.setattr("oslo_db.api.time", SimpleNamespace(sleep=pauses.append))
    return pauses


class Transaction:
    """It fails with an error so many times."""

    def __init__(self, error: Exception, times: int) -> None:
        self._error = error
        self._times = times
        self.tries = 0

    @retried
    def run(self) -> str:
        self.tries += 1
        if self.tries <= self._times:
            raise self._error
        return "done"


@pytest.mark.parametrize(
    "error",
    [
        db_exception.DBDeadlock(),
        db_exception.DBConnectionError(),
        db_exception.DBDuplicateEntry(),
        db_exception.DBConsistencyError("NaN"),
    ],
    ids=repr,
)
def test_what_is_lost_is_done_again(at_once: list[float], error: Exception) -> None:
    """A few times, with pauses of a second at most."""
    transaction = Transaction(error, times=5)
    assert (transaction.run(), transaction.tries) == ("done", 6)
    assert len(at_once) == 5
    assert max(at_once) <= 1
    with pytest.raises(type(error)):
        Transaction(error, times=6).run()


@pytest.mark.parametrize("error", [db_exception.DBDataError(), KeyError("x")], ids=repr)
def test_what_is_wrong_is_not_done_again(at_once: list[float], error: Exception) -> None:
    transaction = Transaction(error, times=1)
    with pytest.raises(type(error)):
        transaction.run()
    assert transaction.tries == 1


def test_a_database_that_is_not_named() -> None:
    with pytest.raises(cfg.RequiredOptError, match=r"connection.*\[database\]"):
        Database(configured(None))


def leave(db: Database, *news: str) -> None:
    with db.writer() as session:
        session.info.setdefault(AFTER_COMMIT, []).extend(news)


def test_who_listens_is_told_after_the_commit(caplog: pytest.LogCaptureFixture) -> None:
    """Of transactions that leave something; one that listens badly concerns nobody else."""
    db = empty_database()
    told: list[Any] = []

    def fail(news: Any) -> None:
        raise OSError("the bus is away")

    db.on_commit(fail)
    db.on_commit(told.append)
    with db.writer() as session:
        session.info.setdefault(AFTER_COMMIT, []).append("first")
        assert told == []
    leave(db)
    leave(db, "second", "third")
    assert told == [["first"], ["second", "third"]]
    assert caplog.text.count("Cannot tell what was committed") == 2


def test_nobody_is_told_of_what_was_rolled_back() -> None:
    db = empty_database()
    told: list[Any] = []
    db.on_commit(told.append)
    with pytest.raises(KeyError), db.writer() as session:
        session.info.setdefault(AFTER_COMMIT, []).append("news")
        session.add(models.Host(host="compute1", hypervisor="", version="", last_seen=timeutils.utcnow()))
        session.flush()
        raise KeyError("x")
    assert told == []
    with db.reader() as session:
        assert session.scalars(sa.select(models.Host)).all() == []


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Database:
    """A database in a file, which several can have open."""
    db = Database(configured(f"sqlite:///{tmp_path}/usb.sqlite"))
    migrations.upgrade(db)
    return db


def test_writers_on_sqlite_are_patient(on_sqlite: Database) -> None:
    with on_sqlite.writer() as session:
        assert session.scalar(sa.text("PRAGMA busy_timeout")) == 30000


def test_a_reader_on_sqlite_does_not_wait_for_a_writer(on_sqlite: Database) -> None:
    def read() -> int | None:
        with on_sqlite.reader() as session:
            return session.scalar(sa.select(sa.func.count()).select_from(models.Device))

    with ThreadPoolExecutor(1) as pool, on_sqlite.writer():
        assert pool.submit(read).result(_PATIENCE) == 0
