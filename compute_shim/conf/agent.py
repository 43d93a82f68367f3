# SPDX-License-Identifier: Apache-2.0
"""The options of [agent]."""

from oslo_config import cfg

GROUP = "agent"
OPTS = [
    cfg.IntOpt(
        "sync_interval",
        default=20,
        min=1,
        help="""
Interval in seconds between heartbeats. Each heartbeat also fetches the desired state of the host; every third
triggers a full scan of devices and domains, in case an event was lost. Changes take effect immediately and do
not wait for a heartbeat.
""",
    ),
]
