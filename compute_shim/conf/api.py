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
    cfg.IntOpt(
        "max_devices_per_server",
        min=0,
        help="How many USB devices one server may have. If it is not set there is no such limit. Conductors"
        " go by it too, when they serve those in line.",
    ),
    cfg.IntOpt(
        "request_timeout",
        default=10,
        min=1,
        help="""
Seconds that one request may take, with all that it asks of Nova and of the database. After that it is
answered with 503 (Service Unavailable). One statement of the database, or one wait for a connection to it,
may take a third of that.
""",
    ),
]
