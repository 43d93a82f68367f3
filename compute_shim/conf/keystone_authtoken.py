# SPDX-License-Identifier: Apache-2.0
"""[keystone_authtoken], as keystonemiddleware defines it."""

from keystonemiddleware import opts
from oslo_config import cfg

GROUP = "keystone_authtoken"


def register(conf: cfg.ConfigOpts) -> None:
    """Register the options of the group."""
    for group, options in opts.list_auth_token_opts():
        conf.register_opts(options, group=group)
