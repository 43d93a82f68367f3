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
Seconds between two signs of life, at which the agent also learns what is wanted of its host. After every
third it looks at all devices and domains anew, should an event have been lost. Changes are acted upon at once
and do not wait for any of this.
""",
    ),
]
