# SPDX-License-Identifier: Apache-2.0
"""The options of [metrics]."""

from oslo_config import cfg

GROUP = "metrics"
OPTS = [
    cfg.BoolOpt(
        "enabled",
        default=False,
        help="Serve metrics of this conductor or agent in the text format of Prometheus, at /metrics.",
    ),
    cfg.HostAddressOpt(
        "host",
        default="127.0.0.1",
        help="""
Address to listen on. Metrics include host and device names and need no authentication: use an address that
only the monitoring system can reach.
""",
    ),
    cfg.PortOpt(
        "port",
        default=9816,
        min=1,
        help="TCP port to listen on. A conductor and an agent on the same host need different ports.",
    ),
]
