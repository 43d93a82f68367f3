# SPDX-License-Identifier: Apache-2.0
"""Which hosts have an agent that is alive."""

from __future__ import annotations

import datetime

from oslo_config import cfg
from oslo_utils import timeutils

from compute_shim.db import models, queries
from compute_shim.db.api import Database


def is_up(conf: cfg.ConfigOpts, host: models.Host) -> bool:
    """Has the host's agent shown a sign of life not long ago?

    One that lies in the future is from before the clock was set back, and says as little as an old one: the
    next one tells.
    """
    age = timeutils.utcnow() - host.last_seen
    return abs(age) <= datetime.timedelta(seconds=conf.conductor.host_down_time)


def live(conf: cfg.ConfigOpts, db: Database) -> set[str]:
    """The names of all hosts that are up."""
    return {host.host for host in queries.hosts(db) if is_up(conf, host)}
