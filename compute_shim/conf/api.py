# SPDX-License-Identifier: Apache-2.0
"""[api]"""

from oslo_config import cfg

GROUP = "api"
OPTS = [
    cfg.IntOpt(
        "max_limit",
        default=1000,
        min=1,
        help="How many devices one page of a list has at most. The rest is on the pages that it links to.",
    ),
]
