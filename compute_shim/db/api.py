# SPDX-License-Identifier: Apache-2.0
"""The connection to the database: SQLite, MariaDB or MySQL, PostgreSQL."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy
from oslo_config import cfg
from oslo_db import api as oslo_db_api
from oslo_db import exception as db_exception
from oslo_db.sqlalchemy import enginefacade
from oslo_log import log
from sqlalchemy import event, orm

from compute_shim import deadline
from compute_shim.db import failures

LOG = log.getLogger(__name__)

#: Key in the ``info`` of a session: the list of what `Database.on_commit` is about.
AFTER_COMMIT = "compute_shim_after_commit"

# Milliseconds that a writer waits for others on SQLite, which has one writer at a time.
_SQLITE_BUSY_TIMEOUT = 30000
_WRITES = "compute_shim_writes"

#: Decorates a function that is one whole transaction. What is lost to a deadlock, to a connection that
#: went away or to another who inserted the same row a moment earlier is done again.
retried = oslo_db_api.wrap_db_retry(
    max_retries=5,
    retry_interval=0.1,
    max_retry_interval=1,
    retry_on_deadlock=True,
    retry_on_disconnect=True,
    exception_checker=lambda error: isinstance(
        error, db_exception.DBDuplicateEntry | db_exception.DBConsistencyError
    ),
)


@enginefacade.transaction_context_provider
class _Context:
    """What oslo.db keeps a transaction's session in."""


class Database:
    """A database, connected to at the first use.

    :param conf: with the group ``[database]`` registered.
    :param patience: seconds after which a statement, or the wait for a connection, fails.
    :raises oslo_config.cfg.RequiredOptError: ``[database] connection`` is not set
    """

    def __init__(self, conf: cfg.ConfigOpts, patience: float | None = None) -> None:
        if not conf.database.connection:
            raise cfg.RequiredOptError("connection", cfg.OptGroup("database"))
        options = dict(conf.database.items())
        options["connection"] = _whole_unicode(options["connection"])
        if patience is not None:
            options = failures.limited(options, patience)
        self._manager = enginefacade.transaction_context()
        self._manager.configure(**options)
        self._manager.append_on_engine_create(_sqlite_transactions)
        self._manager.append_on_engine_create(_read_committed)
        self._reading = threading.local()
        self._listeners: list[Callable[[Sequence[Any]], None]] = []

    def on_commit(self, listener: Callable[[Sequence[Any]], None]) -> None:
        """Have a function called, after each transaction that left something below `AFTER_COMMIT`, with that.

        What is done cannot be undone any more: an error of the function is logged, no more.
        """
        self._listeners.append(listener)

    @contextlib.contextmanager
    def reader(self) -> Iterator[orm.Session]:
        """A transaction that only reads. In a thread, one inside another is part of it."""
        deadline.remaining()
        outer = getattr(self._reading, "session", None)
        if outer is not None:
            yield outer
            return
        with self._manager.reader.using(_Context()) as session:
            self._reading.session = session
            try:
                yield session
            finally:
                self._reading.session = None

    @contextlib.contextmanager
    def writer(self) -> Iterator[orm.Session]:
        """A transaction that is committed at the end, or rolled back by an exception."""
        deadline.remaining()
        with self._manager.writer.using(_Context()) as session:
            session.connection(execution_options={_WRITES: True})
            yield session
        self._tell(session.info.get(AFTER_COMMIT, []))

    def _tell(self, done: Sequence[Any]) -> None:
        for listener in self._listeners if done else ():
            try:
                listener(done)
            except Exception:
                LOG.exception("Cannot tell what was committed")

    def engine(self) -> sqlalchemy.Engine:
        """The engine below, for migrations.

        :raises oslo_db.exception.DBConnectionError: the database does not answer
        """
        return self._manager.writer.get_engine()


def _whole_unicode(connection: str) -> str:
    """The URL with the character set of our tables, for the names of devices may hold any character.

    It names the dialect ``mysql``: oslo.db does not know the errors of ``mariadb``.
    """
    url = sqlalchemy.make_url(connection)
    if url.get_backend_name() in ("mysql", "mariadb"):
        url = url.set(drivername=url.drivername.replace("mariadb", "mysql", 1))
        url = url.update_query_dict({"charset": "utf8mb4"})
    return url.render_as_string(hide_password=False)


def _sqlite_transactions(engine: sqlalchemy.Engine) -> None:
    """Let writers on SQLite queue up.

    oslo.db begins every transaction as a reader; two that read and then write make each other fail with
    "database is locked", however long they may wait (https://www.sqlite.org/lang_transaction.html,
    "Deferred, immediate, and exclusive").
    """
    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def wait_for_others(connection, record) -> None:  # type: ignore[no-untyped-def]
        connection.execute(f"PRAGMA busy_timeout = {_SQLITE_BUSY_TIMEOUT}")

    # After the listener of oslo.db, which has begun a transaction that holds nothing yet.
    @event.listens_for(engine, "begin")
    def begin(connection: sqlalchemy.Connection) -> None:
        if connection.get_execution_options().get(_WRITES):
            connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql("BEGIN IMMEDIATE")


def _read_committed(engine: sqlalchemy.Engine) -> None:
    """Let MariaDB and MySQL lock the rows that a statement finds, not the gaps between them.

    Otherwise, the first syncs of two hosts make each other fail with a deadlock (MariaDB documentation,
    "InnoDB Lock Modes": gap locks). It is PostgreSQL's default. A binary log must not be of the format
    STATEMENT then; MIXED and ROW, the defaults, are fine (MariaDB documentation, "SET TRANSACTION").
    """
    if engine.dialect.name != "mysql":
        return

    @event.listens_for(engine, "connect")
    def read_committed(connection, record) -> None:  # type: ignore[no-untyped-def]
        engine.dialect.set_isolation_level(connection, "READ COMMITTED")

    # oslo.db has a connection already, of its test whether the database answers.
    engine.dispose()
