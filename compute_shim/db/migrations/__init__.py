# SPDX-License-Identifier: Apache-2.0
"""Bringing a database's schema up to date, with alembic."""

from __future__ import annotations

from pathlib import Path

from alembic import command, config, migration, script
from alembic.util import CommandError

from compute_shim.db.api import Database


def upgrade(db: Database) -> None:
    """Bring the schema to the newest revision; one that is there already is left alone.

    :raises alembic.util.CommandError: there are no migrations, or not those that the schema comes from
    """
    settings = _settings()
    revision = head()
    with db.engine().begin() as connection:
        settings.attributes["connection"] = connection
        command.upgrade(settings, revision)


def version(db: Database) -> str | None:
    """The revision of the schema, None of an empty database."""
    with db.engine().connect() as connection:
        return migration.MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """The newest revision there is.

    :raises alembic.util.CommandError: there is none
    """
    newest = script.ScriptDirectory.from_config(_settings()).get_current_head()
    if newest is None:
        raise CommandError("The package has no migrations. Install it again.")
    return newest


def _settings() -> config.Config:
    settings = config.Config()
    settings.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return settings
