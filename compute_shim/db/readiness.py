# SPDX-License-Identifier: Apache-2.0
"""Whether the database can be used and, if not, whether an operator has to act."""

from __future__ import annotations

import sqlalchemy
from oslo_config import cfg
from oslo_db import exception as db_exception
from sqlalchemy import exc as sqlalchemy_exception

from compute_shim.db import migrations
from compute_shim.db.api import Database

# MariaDB, "MariaDB Error Codes": access denied to a database, to a user, unknown database, host not allowed,
# command denied on a table, access denied without a password.
_MYSQL_REFUSALS = {1044, 1045, 1049, 1130, 1142, 1698}
# An error while psycopg2 connects has no code (psycopg2 documentation, "Diagnostics"), only this text of
# PostgreSQL (src/backend/libpq/auth.c, src/backend/utils/init/postinit.c and miscinit.c).
_POSTGRESQL_REFUSALS = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "is not permitted to log in",
    "permission denied for database",
)


_A_URL = "It is like mysql+pymysql://USER:PASSWORD@HOST/DATABASE"

# What alembic stores the revision in (alembic documentation, "version_table").
_VERSIONS = sqlalchemy.table("alembic_version", sqlalchemy.column("version_num"))


class Unusable(Exception):
    """The database cannot be used.

    :ivar details: the error of the database, for operators only.
    """

    def __init__(self, reason: str, details: str = "") -> None:
        super().__init__(reason)
        self.details = details


class Away(Unusable):
    """The database does not answer now and may do so later."""


class Refused(Unusable):
    """The database cannot work until an operator changes something; the text tells what."""


def check(db: Database) -> None:
    """Ask the database for the revision of its schema.

    A schema of a later release is no obstacle: migrations only add until all programs are upgraded.

    :raises Away: the database does not answer
    :raises Refused: it does not let us in, or has not our schema
    """
    revision = _revision(db)
    if revision is None:
        raise Refused("The database has no schema. Run usb-shim-manage db sync.")
    if revision != _head() and revision in migrations.revisions():
        raise Refused(f"The schema of the database is too old ({revision}). Run usb-shim-manage db sync.")


def later_revision(db: Database) -> str | None:
    """The revision of a schema that a later release has made; None if this release knows it.

    :raises Away: the database does not answer
    :raises Refused: it does not let us in, or we have no schemas to compare it with
    """
    ours = {_head(), *migrations.revisions()}
    revision = _revision(db)
    return None if revision in ours else revision


def database(conf: cfg.ConfigOpts, patience: float | None = None) -> Database:
    """The database of ``[database] connection``; nothing is connected yet.

    :param patience: as for `Database`.
    :raises Refused: it is not set, or no URL, or its driver is not installed
    """
    try:
        found = Database(conf, patience)
        sqlalchemy.make_url(conf.database.connection).get_dialect().import_dbapi()
        return found
    except cfg.RequiredOptError:
        raise Refused(f"[database] connection is not set. {_A_URL}.") from None
    except ImportError as error:
        raise Refused(
            f"The driver of [database] connection is not installed: {error}. Install it, or name another."
            f" {_A_URL}."
        ) from None
    except (sqlalchemy_exception.ArgumentError, ValueError):
        # Their texts may have parts of the URL, and so the password.
        raise Refused(
            f"[database] connection is not a valid URL. {_A_URL}, with special characters of the password"
            " percent-encoded."
        ) from None


def address(conf: cfg.ConfigOpts) -> str:
    """Which database the configuration names, without user and password."""
    url = sqlalchemy.make_url(conf.database.connection)
    return f"{url.database} at {url.host or 'localhost'}" + (f":{url.port}" if url.port else "")


def explain(conf: cfg.ConfigOpts, error: Unusable) -> str:
    """For an operator: which database, what is wrong, what to do, and what the database said."""
    way_out = " Check that it runs, and [database] connection." if isinstance(error, Away) else ""
    return f"Database {address(conf)}: {error}{way_out} {error.details}".strip()


def _revision(db: Database) -> str | None:
    """The revision of the schema, None of a database without one.

    Not asked of alembic, which logs two lines each time.
    """
    try:
        with db.reader() as session:
            if not sqlalchemy.inspect(session.connection()).has_table(_VERSIONS.name):
                return None
            return session.scalar(sqlalchemy.select(_VERSIONS.c.version_num))
    except (db_exception.DBError, sqlalchemy_exception.SQLAlchemyError) as error:
        raise unusable(error) from error


def _head() -> str:
    try:
        return migrations.head()
    except migrations.Missing as error:
        raise Refused(str(error)) from None


def unusable(error: Exception) -> Unusable:
    """What an error of oslo.db or SQLAlchemy means; it has neither a statement nor parameters."""
    cause = _cause(error)
    details = " ".join(str(cause).split())
    if isinstance(error, db_exception.DBNonExistentDatabase):
        return Refused("There is no such database. Check [database] connection.", details)
    if isinstance(error, db_exception.DBConnectionError | sqlalchemy_exception.TimeoutError):
        return Away("The database does not answer.", details)
    if isinstance(error, sqlalchemy_exception.OperationalError) and not _refuses(cause):
        return Away("The database does not answer.", details)
    return Refused("The database does not let us in. Check [database] connection.", details)


def _cause(error: Exception) -> Exception:
    """The database driver's own exception, which has no SQL and no parameters in it."""
    inner = getattr(error, "inner_exception", None) or getattr(error, "orig", None)
    return error if inner is None else _cause(inner)


def _refuses(cause: Exception) -> bool:
    if cause.args and cause.args[0] in _MYSQL_REFUSALS:
        return True
    return any(text in str(cause) for text in _POSTGRESQL_REFUSALS)
