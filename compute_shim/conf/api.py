# SPDX-License-Identifier: Apache-2.0
"""The options of [api]."""

from oslo_config import cfg

GROUP = "api"
OPTS = [
    cfg.IntOpt(
        "max_limit",
        default=1000,
        min=1,
        help="Maximum number of items returned in one page of a list. Further pages are linked.",
    ),
    cfg.IntOpt(
        "max_devices_per_server",
        min=0,
        help="Maximum number of USB devices per server; no limit if unset. Set the same value for conductors,"
        " which apply it when they serve the queue.",
    ),
    cfg.IntOpt(
        "request_timeout",
        default=10,
        min=1,
        help="""
Time limit in seconds for one request, including its calls to Nova and the database. A request that exceeds it
is answered with 503 (Service Unavailable). One database statement, or one wait for a database connection, may
take a third of it.
""",
    ),
]
