# SPDX-License-Identifier: Apache-2.0
"""Commands of ``usb-shim-manage`` that work on the database."""

from __future__ import annotations

import functools
from typing import Any

from oslo_config import cfg
from oslo_db import exception as db_exception
from sqlalchemy import exc as sqlalchemy_exception

from compute_shim.cmd import manage_ends, manage_placement
from compute_shim.cmd.manage_ends import Command
from compute_shim.cmd.program import Register
from compute_shim.conf import database
from compute_shim.daemon import CannotServe
from compute_shim.db import history, migrations, readiness
from compute_shim.db.api import Database


def _sync(conf: cfg.ConfigOpts, db: Database) -> None:
    later = readiness.later_revision(db)
    if later is not None:
        raise CannotServe(
            f"The schema of the database is of a later release ({later}). Upgrade this machine's package."
        )
    migrations.upgrade(db)


def _version(conf: cfg.ConfigOpts, db: Database) -> None:
    print(migrations.version(db) or "none: run usb-shim-manage db sync")


def _purge(conf: cfg.ConfigOpts, db: Database) -> None:
    days = conf.history.retention_days if conf.command.days is None else conf.command.days
    print(f"{history.purge(db, days)} events deleted")


def add_commands(subparsers: Any) -> None:
    """Add ``db``, ``history``, ``host``, ``claims`` and ``placement``."""
    actions = subparsers.add_parser("db", help="the database").add_subparsers(dest="action", required=True)
    actions.add_parser("sync", help="bring the schema up to date").set_defaults(**_does(_sync))
    actions.add_parser("version", help="print the schema's revision").set_defaults(**_does(_version))
    actions = subparsers.add_parser("history", help="events").add_subparsers(dest="action", required=True)
    purge = actions.add_parser("purge", help="delete old events")
    purge.add_argument(
        "--days",
        type=_days,
        help="delete events that are older than so many days; by default [history] retention_days",
    )
    purge.set_defaults(**_on_schema(_purge))
    manage_ends.add_commands(subparsers, _on_schema)
    manage_placement.add_commands(subparsers, _on_schema)


def _does(command: Command, *registers: Register) -> dict[str, Any]:
    """What a parser's command does, for `argparse.ArgumentParser.set_defaults`.

    :param registers: of the options of other groups than ``[database]``.
    """

    def register(conf: cfg.ConfigOpts) -> None:
        for one in (database.register, *registers):
            one(conf)

    return {"run": functools.partial(_run, command), "register": register}


def _on_schema(command: Command, *registers: Register) -> dict[str, Any]:
    """The same for a command that needs the schema."""

    def run(conf: cfg.ConfigOpts, db: Database) -> None:
        readiness.check(db)
        command(conf, db)

    return _does(run, *registers)


def _run(command: Command, conf: cfg.ConfigOpts) -> None:
    # oslo.db would try for minutes to reach a database that is away.
    conf.set_override("max_retries", 0, group=database.GROUP)
    try:
        db = readiness.database(conf)
    except readiness.Refused as error:
        raise CannotServe(str(error)) from error
    try:
        command(conf, db)
    except readiness.Unusable as error:
        raise CannotServe(readiness.explain(conf, error)) from error
    except (db_exception.DBError, sqlalchemy_exception.SQLAlchemyError) as error:
        raise CannotServe(readiness.explain(conf, readiness.unusable(error))) from error


def _days(text: str) -> int:
    """A number of days after which events are old.

    :raises ValueError: it is none
    """
    if not 0 < int(text) <= history.MOST_DAYS:
        raise ValueError(text)
    return int(text)
