# SPDX-License-Identifier: Apache-2.0
"""``usb-shim-manage placement clean``: remove from Placement what the conductor has created there."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from oslo_config import cfg

from compute_shim import credentials, placement
from compute_shim.cmd.manage_ends import Does
from compute_shim.conf import placement as placement_conf
from compute_shim.daemon import CannotServe
from compute_shim.db import allocations
from compute_shim.db.api import Database


def add_commands(subparsers: Any, does: Does) -> None:
    """Add ``placement clean``.

    :param does: makes of a command the defaults of its parser.
    """
    actions = subparsers.add_parser("placement", help="what is offered to Nova's scheduler")
    actions = actions.add_subparsers(dest="action", required=True)
    clean: argparse.ArgumentParser = actions.add_parser(
        "clean", help="delete the resource providers, classes and traits of USB devices in Placement"
    )
    clean.add_argument("--yes", action="store_true", help="delete them; without this they are listed only")
    clean.set_defaults(**does(_clean, placement_conf.register))


def _clean(conf: cfg.ConfigOpts, db: Database) -> None:
    if conf.placement.enabled:
        sys.exit(
            "usb-shim-manage: [placement] enabled is true, so a conductor would create everything again. Set"
            " it to false, and restart the conductors first."
        )
    try:
        left = _delete(placement.Placement(conf), db, really=conf.command.yes)
    except (placement.Failure, credentials.Unusable) as error:
        raise CannotServe(f"Placement cannot be cleaned: {error}") from error
    if left:
        sys.exit(
            f"usb-shim-manage: {left} resource providers are in use. Delete their servers, or resize them to"
            " flavors without USB devices, and repeat the command."
        )


def _delete(api: placement.Placement, db: Database, *, really: bool) -> int:
    """Delete everything, or list it; returns the number of providers that are in use."""
    api.create_trait(placement.MARK)
    providers = api.providers()
    in_use = []
    for provider in providers:
        consumers = api.allocations(provider.uuid)
        print(f"resource provider {provider.name} ({provider.uuid}), allocated to {len(consumers)} consumers")
        if not really:
            continue
        try:
            api.delete_provider(provider.uuid)
        except placement.Conflict:
            in_use.append(provider.host)
    if not really:
        print(f"{len(providers)} resource providers. To delete them, add --yes.")
        return 0
    allocations.forget(db, besides=in_use)
    print(f"{len(providers) - len(in_use)} resource providers deleted.")
    if not in_use:
        api.delete_names()
    return len(in_use)
