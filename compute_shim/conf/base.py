# SPDX-License-Identifier: Apache-2.0
"""[DEFAULT]"""

import socket

from oslo_config import cfg

GROUP = None  # the group [DEFAULT]
OPTS = [
    cfg.HostAddressOpt(
        "host",
        default=socket.gethostname(),
        sample_default="<current_hostname>",
        help="""
Name of this compute host. It must be the name that nova-compute on this host uses (its own option
``host``), because that is how a server is found to be on this host.
""",
    ),
]
