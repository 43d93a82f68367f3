# SPDX-License-Identifier: Apache-2.0
"""Commands of ``usb-shim-manage`` that delete hosts and release claims."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable
from typing import Any

from oslo_config import cfg
from oslo_context import context as oslo_context

from compute_shim import liveness
from compute_shim.db import absence, removal
from compute_shim.db.api import Database
from compute_shim.db.events import Actor

Command = Callable[[cfg.ConfigOpts, Database], None]
#: Makes of a command, and of what registers its options, the defaults of its parser.
Does = Callable[..., dict[str, Any]]


def add_commands(subparsers: Any, does: Does) -> None:
    """Add ``host delete`` and ``claims release-absent``.

    :param does: makes of a command the defaults of its parser.
    """
    hosts = subparsers.add_parser("host", help="compute hosts").add_subparsers(dest="action", required=True)
    delete = hosts.add_parser("delete", help="delete a host that is down, with its devices and their claims")
    delete.add_argument("which", metavar="HOST")
    delete.set_defaults(**does(_delete_host))
    claims = subparsers.add_parser("claims", help="claims").add_subparsers(dest="action", required=True)
    release = claims.add_parser(
        "release-absent", help="release the claims of deleted servers that the conductor holds back"
    )
    release.add_argument("--yes", action="store_true", help="release them; without this they are listed only")
    release.set_defaults(**does(_release_absent))


def _delete_host(conf: cfg.ConfigOpts, db: Database) -> None:
    name = conf.command.which
    try:
        found = removal.delete_host(db, name, liveness.Window.now(conf))
    except removal.HostUp:
        sys.exit(f"usb-shim-manage: The agent on host {name} is up. Stop it, and wait until it is down.")
    if not found:
        sys.exit(f"usb-shim-manage: No agent is registered for host {name}.")


def _release_absent(conf: cfg.ConfigOpts, db: Database) -> None:
    """Release the claims that the last pass of the conductor proved, even above its limit."""
    up = liveness.Window.now(conf)
    interval = datetime.timedelta(seconds=conf.conductor.deleted_server_interval)
    claims = absence.proven(db, up, interval)
    for claim in claims:
        print(f"device {claim.id} on host {claim.host}: server {claim.instance_uuid}")
    if not conf.command.yes:
        print(f"{len(claims)} claims of deleted servers. To release them, add --yes.")
        return
    # No agent is notified: each learns it at its next sync.
    actor = Actor(None, oslo_context.generate_request_id())
    released = [claim for claim in claims if absence.release(db, claim, up, actor)]
    print(f"{len(released)} claims released.")
