# SPDX-License-Identifier: Apache-2.0
"""Bringing a database's schema up to date, with alembic."""

from __future__ import annotations

from pathlib import Path

from alembic import command, config, migration, script

from compute_shim.db.api import Database

_DIRECTORY = Path(__file__).parent


class Missing(Exception):
    """The migrations are not installed."""


def upgrade(db: Database) -> None:
    """Bring the schema to the newest revision; one that is there already is left alone.

    :raises Missing: there is none
    """
    settings, revision = _settings(), head()
    with db.engine().begin() as connection:
        settings.attributes["connection"] = connection
        command.upgrade(settings, revision)


def version(db: Database) -> str | None:
    """The revision of the schema, None of an empty database."""
    with db.engine().connect() as connection:
        return migration.MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """The newest revision there is.

    :raises Missing: there is none
    """
    found = script.ScriptDirectory.from_config(_settings()).get_current_head()
    if found is None:
        raise Missing(
            f"There are no migrations in {_DIRECTORY}/versions: the installed package is incomplete. Install"
            " openstack-usb-passthrough again."
        )
    return found


def revisions() -> set[str]:
    """All revisions of this release."""
    return {known.revision for known in script.ScriptDirectory.from_config(_settings()).walk_revisions()}


def _settings() -> config.Config:
    settings = config.Config()
    settings.set_main_option("script_location", str(_DIRECTORY).replace("%", "%%"))
    return settings
