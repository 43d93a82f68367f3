# SPDX-License-Identifier: Apache-2.0
"""The options of [DEFAULT]."""

import socket
from typing import cast

from oslo_config import cfg, types

GROUP = None  # the group [DEFAULT]


def _own_name() -> str | None:
    """The name of this machine; None if it cannot be one of a host."""
    try:
        return cast(str, types.HostDomain()(socket.gethostname()))
    except ValueError:
        return None


OPTS = [
    # As Nova has it: host names, addresses, and names with an underscore.
    cfg.HostDomainOpt(
        "host",
        default=_own_name(),
        sample_default="<current_hostname>",
        help="""
Name of this compute host. Must be identical to the name that nova-compute uses on this host (Nova's option
``host``): servers are matched to hosts by it.
""",
    ),
]


def check(conf: cfg.ConfigOpts) -> None:
    """Make sure that this host has a name.

    :raises oslo_config.cfg.ConfigFileValueError: none is configured, and that of the machine cannot be one
    """
    if conf.host is None:
        raise cfg.ConfigFileValueError(
            f"[DEFAULT] host is not set, and the name of this machine, {socket.gethostname()!r}, is not a "
            "valid host address. Set it to the name that nova-compute uses."
        )
