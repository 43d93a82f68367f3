# SPDX-License-Identifier: Apache-2.0
"""The options of [lease]."""

from oslo_config import cfg, types

GROUP = "lease"
OPTS = [
    cfg.IntOpt(
        "warn_before",
        default=300,
        min=0,
        help="""
Seconds before the end of a lease at which the conductors warn of it, by an event and a notification. 0 turns
the warning off.
""",
    ),
    cfg.Opt(
        "longest",
        type=types.Dict(types.Integer(min=1)),
        default={},
        sample_default="hasp-dongle:14400,*:604800",
        help="""
Maximum lease in seconds, by kind of device; * applies to all other devices, including those without a kind.
Where a maximum is set, every claim has a lease: the maximum, unless a shorter lease is requested.
""",
    ),
]
