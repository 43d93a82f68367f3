# SPDX-License-Identifier: Apache-2.0
"""[metrics]"""

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
Address to listen at. Metrics name hosts and devices and are served to everybody who can connect: choose an
address that only your monitoring reaches.
""",
    ),
    cfg.PortOpt(
        "port",
        default=9816,
        min=1,
        help="TCP port to listen at. A conductor and an agent on one host need a port each.",
    ),
]
