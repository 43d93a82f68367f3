# SPDX-License-Identifier: Apache-2.0
"""[agent]"""

from oslo_config import cfg

GROUP = "agent"
OPTS = [
    cfg.IntOpt(
        "sync_interval",
        default=20,
        min=1,
        help="""
Seconds between two full comparisons of what is wanted with what is, which are also the agent's sign of
life. Changes are acted upon at once and do not wait for this.
""",
    ),
]
