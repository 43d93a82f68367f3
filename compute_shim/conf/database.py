# SPDX-License-Identifier: Apache-2.0
"""[database], as oslo.db defines it."""

from oslo_config import cfg
from oslo_db import options

GROUP = "database"


def register(conf: cfg.ConfigOpts) -> None:
    """Register the options of the group."""
    conf.register_opts(options.database_opts, group=GROUP)
