# SPDX-License-Identifier: Apache-2.0
"""[conductor]"""

from oslo_config import cfg

GROUP = "conductor"
OPTS = [
    cfg.IntOpt(
        "host_down_time",
        default=60,
        min=2,
        help="""
Seconds after its last sign of life at which a host's agent counts as down. Nothing can be attached on a
host that is down. More than twice ``[agent] sync_interval``.
""",
    ),
    cfg.IntOpt(
        "deleted_server_interval",
        default=60,
        min=1,
        help="""
Seconds between two looks for servers that were deleted, moved or shelved while they had a device. A device is
given back when two looks in succession prove that its server is deleted. Needs the credentials of ``[nova]``.
""",
    ),
]
