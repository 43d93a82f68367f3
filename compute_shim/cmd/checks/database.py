# SPDX-License-Identifier: Apache-2.0
"""The database of ``[database]``: its schema, and its clock."""

from __future__ import annotations

import sqlalchemy as sa
from oslo_upgradecheck.upgradecheck import Result
from oslo_utils import timeutils

from compute_shim.cmd.checks.results import Installation, found, without_database
from compute_shim.db import queries, readiness
from compute_shim.db.clock import InSeconds

# Seconds that a statement may take.
_PATIENCE = 4
# Seconds by which clocks may differ. Agents that are up are known by times of several clocks.
_SKEW = 5


def check(installation: Installation) -> Result:
    """The database answers and has the newest schema."""
    try:
        db = readiness.database(installation.conf, _PATIENCE)
    except readiness.Refused as error:
        return found([str(error)])
    try:
        readiness.check(db)
        later = readiness.later_revision(db)
    except readiness.Unusable as error:
        return found([readiness.explain(installation.conf, error)])
    installation.db = db
    if later is None:
        return found()
    return found(
        warnings=[
            f"The schema of the database is of a later release ({later}). Upgrade this machine's package."
        ]
    )


def check_clocks(installation: Installation) -> Result:
    """This machine, the database and the conductors have the same time."""
    if installation.db is None:
        return without_database("Clocks")
    with installation.db.reader() as session:
        now = session.scalar(sa.select(InSeconds(0)))
    assert now is not None
    here = round((timeutils.utcnow() - now).total_seconds())
    problems = []
    if abs(here) > _SKEW:
        direction = "ahead of" if here > 0 else "behind"
        problems.append(f"The clock of this machine is {abs(here)} s {direction} that of the database.")
    # Conductors write this time.
    ahead = [
        host.host for host in queries.hosts(installation.db) if (host.last_seen - now).total_seconds() > _SKEW
    ]
    if ahead:
        problems.append(
            f"The clock of a conductor is ahead of that of the database: it heard of {', '.join(ahead)} in"
            " the future."
        )
    if problems:
        problems.append(
            "Agents that are up may count as down. Synchronize the clocks, for example with chrony."
        )
    return found(warnings=problems)
