# SPDX-License-Identifier: Apache-2.0
"""The options of [history]."""

from oslo_config import cfg

GROUP = "history"
OPTS = [
    cfg.IntOpt(
        "retention_days",
        default=90,
        min=0,
        max=36500,  # a hundred years: `datetime` ends at the year 1
        help="""
Days for which device events are kept. A conductor deletes older events once an hour, as does
``usb-shim-manage history purge``. 0 keeps events forever.
""",
    ),
]
