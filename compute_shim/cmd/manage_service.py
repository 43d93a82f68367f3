# SPDX-License-Identifier: Apache-2.0
"""Commands of ``usb-shim-manage`` that work on the database."""

from __future__ import annotations

import functools
from typing import Any

from alembic.util import CommandError
from oslo_config import cfg
from oslo_db import exception as db_exception
from sqlalchemy import exc as sqlalchemy_exception

from compute_shim.cmd import manage_ends, program
from compute_shim.cmd.manage_ends import Command
from compute_shim.conf import database
from compute_shim.daemon import CannotServe
from compute_shim.db import history, migrations, readiness
from compute_shim.db.api import Database

_REFUSALS = (
    readiness.Refused,
    CommandError,
    db_exception.DBError,
    sqlalchemy_exception.SQLAlchemyError,
)


def _sync(conf: cfg.ConfigOpts, db: Database) -> None:
    migrations.upgrade(db)


def _version(conf: cfg.ConfigOpts, db: Database) -> None:
    print(migrations.version(db) or "none: run usb-shim-manage db sync")


def _purge(conf: cfg.ConfigOpts, db: Database) -> None:
    days = conf.history.retention_days if conf.command.days is None else conf.command.days
    print(f"{history.purge(db, days)} events deleted")


def add_commands(subparsers: Any) -> None:
    """Add ``db``, ``history``, ``host`` and ``claims``."""
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
    purge.set_defaults(**_does(_purge))
    manage_ends.add_commands(subparsers, _does)


def _does(command: Command) -> dict[str, Any]:
    """What a parser's command does, for `argparse.ArgumentParser.set_defaults`."""
    return {"run": functools.partial(_run, command), "register": database.register}


def _run(command: Command, conf: cfg.ConfigOpts) -> None:
    try:
        command(conf, readiness.database(conf))
    except _REFUSALS as error:
        raise CannotServe(program.one_line(error)) from error


def _days(text: str) -> int:
    """A number of days after which events are old.

    :raises ValueError: it is none
    """
    if not 0 < int(text) <= history.MOST_DAYS:
        raise ValueError(text)
    return int(text)
