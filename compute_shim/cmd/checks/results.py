# SPDX-License-Identifier: Apache-2.0
"""The input and the result of a check."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import oslo_messaging
from oslo_config import cfg
from oslo_upgradecheck.upgradecheck import Code, Result

from compute_shim.db.api import Database


@dataclasses.dataclass
class Installation:
    """What is checked.

    :ivar db: the database, as soon as it is known that it can be used.
    :ivar transport: the message bus, likewise.
    """

    conf: cfg.ConfigOpts
    db: Database | None = None
    transport: oslo_messaging.Transport | None = None


def found(failures: Sequence[str] = (), warnings: Sequence[str] = ()) -> Result:
    """The answer of a check, in one line.

    :param failures: what keeps the service from working, a sentence or two each: the option and the way out.
    :param warnings: what else looks wrong.
    """
    code = Code.FAILURE if failures else Code.WARNING if warnings else Code.SUCCESS
    return Result(code, " ".join(" ".join([*failures, *warnings]).split()) or None)


def without_database(what: str) -> Result:
    """The answer of a check that needs a database that cannot be used."""
    return found(
        warnings=[f"{what} cannot be checked before the database can be used: see the check Database."]
    )
