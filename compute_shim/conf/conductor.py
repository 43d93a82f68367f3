# SPDX-License-Identifier: Apache-2.0
"""The options of [conductor]."""

from oslo_config import cfg

GROUP = "conductor"
OPTS = [
    cfg.IntOpt(
        "host_down_time",
        default=60,
        min=2,
        help="""
Seconds without a heartbeat after which an agent is considered down. Devices of its host cannot be attached
while it is down. Must be more than twice ``[agent] sync_interval``.
""",
    ),
    cfg.IntOpt(
        "deleted_server_interval",
        default=60,
        min=1,
        help="""
Interval in seconds between checks for deleted, moved or shelved servers that hold a device. A device is
released when two consecutive checks prove that its server was deleted. Requires the credentials of
``[nova]``.
""",
    ),
]
