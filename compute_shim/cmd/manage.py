# SPDX-License-Identifier: Apache-2.0
"""``usb-shim-manage``: what an operator does by hand, or from a deployment tool.

usb-shim-manage db sync                     bring the database's schema up to date
usb-shim-manage db version                  print the schema's revision
usb-shim-manage history purge [--days N]    delete old events
usb-shim-manage host delete HOST            delete a host that is down
usb-shim-manage claims release-absent       release claims of deleted servers that the conductor holds back
"""

import sys
from typing import Any

from compute_shim.cmd import extras

_NAME = "usb-shim-manage"

with extras.needed_by(_NAME, "service"):
    from alembic.util import CommandError
    from oslo_config import cfg
    from oslo_db import exception as db_exception
    from sqlalchemy import exc as sqlalchemy_exception

    from compute_shim.cmd import manage_ends, program
    from compute_shim.conf import database
    from compute_shim.db import history, migrations, readiness
    from compute_shim.db.api import Database


def _sync(conf: cfg.ConfigOpts, db: Database) -> None:
    migrations.upgrade(db)


def _version(conf: cfg.ConfigOpts, db: Database) -> None:
    print(migrations.version(db) or "none: run usb-shim-manage db sync")


def _purge(conf: cfg.ConfigOpts, db: Database) -> None:
    days = conf.history.retention_days if conf.command.days is None else conf.command.days
    print(f"{history.purge(db, days)} events deleted")


def _add_commands(subparsers: Any) -> None:
    actions = subparsers.add_parser("db", help="the database").add_subparsers(dest="action", required=True)
    actions.add_parser("sync", help="bring the schema up to date").set_defaults(run=_sync)
    actions.add_parser("version", help="print the schema's revision").set_defaults(run=_version)
    actions = subparsers.add_parser("history", help="events").add_subparsers(dest="action", required=True)
    purge = actions.add_parser("purge", help="delete old events")
    purge.add_argument(
        "--days",
        type=_days,
        help="delete events that are older than so many days; by default [history] retention_days",
    )
    purge.set_defaults(run=_purge)
    manage_ends.add_commands(subparsers)


def _days(text: str) -> int:
    """A number of days after which events are old.

    :raises ValueError: it is none
    """
    if not 0 < int(text) <= history.MOST_DAYS:
        raise ValueError(text)
    return int(text)


def main() -> int:
    """Do what the command line says."""
    command = cfg.SubCommandOpt("command", title="commands", handler=_add_commands)
    return program.run(
        _NAME,
        lambda conf: conf.command.run(conf, readiness.database(conf)),
        register=(database.register, program.log_to_stderr),
        prepare=lambda conf: conf.register_cli_opt(command),
        refusals=(
            readiness.Refused,
            CommandError,
            db_exception.DBError,
            sqlalchemy_exception.SQLAlchemyError,
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
