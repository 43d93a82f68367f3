# SPDX-License-Identifier: Apache-2.0
"""[lease]"""

from oslo_config import cfg, types

GROUP = "lease"
OPTS = [
    cfg.IntOpt(
        "warn_before",
        default=300,
        min=0,
        help="""
Seconds before the end of a lease at which the conductors tell of it, by an event and a notification.
0: they do not.
""",
    ),
    cfg.Opt(
        "longest",
        type=types.Dict(types.Integer(min=1)),
        default={},
        sample_default="hasp-dongle:14400,*:604800",
        help="""
Seconds that a server may have a device at most, by the kind of the device; * stands for all others, those
of no kind included. Where there is such a limit every claim has a lease: this one, unless a shorter one is
asked for.
""",
    ),
]
