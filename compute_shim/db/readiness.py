# SPDX-License-Identifier: Apache-2.0
"""Can the database be used? If not: is it away for a time, or has somebody to mend something?"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy
from alembic import script
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


# What alembic stores the revision in (alembic documentation, "version_table").
_VERSIONS = sqlalchemy.table("alembic_version", sqlalchemy.column("version_num"))


class Unusable(Exception):
    """The database cannot be used.

    :ivar details: what the database said, for operators only.
    """

    def __init__(self, reason: str, details: str = "") -> None:
        super().__init__(reason)
        self.details = details


class Away(Unusable):
    """It does not answer now, and may do so later."""


class Refused(Unusable):
    """It will not work before somebody has changed something; the text says what."""


def check(db: Database) -> None:
    """Ask the database for the revision of its schema.

    A schema of a later release is no obstacle: migrations only add until all programs are upgraded.

    :raises Away: the database does not answer
    :raises Refused: it does not let us in, or has not our schema
    """
    try:
        revision = _revision(db)
    except (db_exception.DBError, sqlalchemy_exception.SQLAlchemyError, ImportError) as error:
        raise _unusable(error) from error
    if revision is None:
        raise Refused("The database has no schema. Run usb-shim-manage db sync.")
    if revision != migrations.head() and revision in _revisions():
        raise Refused(f"The schema of the database is too old ({revision}). Run usb-shim-manage db sync.")


def database(conf: cfg.ConfigOpts, patience: float | None = None) -> Database:
    """The database of ``[database] connection``; nothing is connected yet.

    :param patience: as for `Database`.
    :raises oslo_config.cfg.RequiredOptError: it is not set
    :raises Refused: it is no URL
    """
    try:
        return Database(conf, patience)
    except (sqlalchemy_exception.ArgumentError, ValueError):
        # Their texts may have parts of the URL, and so the password.
        raise Refused(
            "[database] connection is not a valid URL. It is like mysql+pymysql://USER:PASSWORD@HOST/DATABASE,"
            " with special characters of the password percent-encoded."
        ) from None


def address(conf: cfg.ConfigOpts) -> str:
    """Which database the configuration names, without user and password."""
    url = sqlalchemy.make_url(conf.database.connection)
    return f"{url.database} at {url.host or 'localhost'}" + (f":{url.port}" if url.port else "")


def _revision(db: Database) -> str | None:
    """The revision of the schema, None of a database without one.

    Not asked of alembic, which logs two lines each time.
    """
    with db.reader() as session:
        if not sqlalchemy.inspect(session.connection()).has_table(_VERSIONS.name):
            return None
        return session.scalar(sqlalchemy.select(_VERSIONS.c.version_num))


def _revisions() -> set[str]:
    """All revisions of this release."""
    scripts = script.ScriptDirectory(str(Path(migrations.__file__).parent))
    return {known.revision for known in scripts.walk_revisions()}


def _unusable(error: Exception) -> Unusable:
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
