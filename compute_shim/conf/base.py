# SPDX-License-Identifier: Apache-2.0
"""[DEFAULT]"""

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
Name of this compute host. It must be the name that nova-compute on this host uses (its own option
``host``), because that is how a server is found to be on this host.
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
