# SPDX-License-Identifier: Apache-2.0
"""The options of [upgrade_levels]."""

from oslo_config import cfg

GROUP = "upgrade_levels"
_VERSION = r"^[0-9]+\.[0-9]+$"
OPTS = [
    cfg.StrOpt(
        "conductor",
        regex=_VERSION,
        help="""
RPC version that agents use to call the conductor, for example ``1.0`` while conductors of that version are
running. By default agents use the newest version that the conductor supports.
""",
    ),
    cfg.StrOpt(
        "agent",
        regex=_VERSION,
        help="""
RPC version that the API and the conductor use to notify agents. By default they use the version that each
agent reported.
""",
    ),
]
