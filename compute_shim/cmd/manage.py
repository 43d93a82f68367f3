# SPDX-License-Identifier: Apache-2.0
"""``usb-shim-manage``: what an operator does by hand, or from a deployment tool.

usb-shim-manage db sync                     bring the database's schema up to date
usb-shim-manage db version                  print the schema's revision
usb-shim-manage history purge [--days N]    delete old events
"""

import sys
from typing import Any

from oslo_config import cfg
from oslo_db import exception as db_exception
from oslo_log import log

from compute_shim import conf as configuration
from compute_shim.conf import database
from compute_shim.db import history, migrations
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
    try:
        conf = configuration.load(prepare=lambda conf: conf.register_cli_opt(command))
        database.register(conf)
        conf.set_default("use_stderr", True)  # the answer alone is on stdout
        log.setup(conf, configuration.PROJECT)
        conf.command.run(conf, Database(conf))
    except (cfg.Error, db_exception.DBError) as error:
        print(f"usb-shim-manage: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
