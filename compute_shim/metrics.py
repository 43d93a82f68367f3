# SPDX-License-Identifier: Apache-2.0
"""Metrics for Prometheus, on a port of their own.

What is counted is in `compute_shim.agent.metrics` and `compute_shim.conductor.metrics`.
"""

from __future__ import annotations

import prometheus_client
from oslo_config import cfg
from oslo_log import log

from compute_shim.daemon import CannotServe

LOG = log.getLogger(__name__)

#: What the name of every metric begins with.
NAMESPACE = "usb_shim"


def serve(conf: cfg.ConfigOpts, registry: prometheus_client.CollectorRegistry) -> None:
    """Answer scrapes as ``[metrics]`` says, in threads of their own.

    :raises CannotServe: the port cannot be listened at
    """
    options = conf.metrics
    if not options.enabled:
        return
    try:
        prometheus_client.start_http_server(options.port, options.host, registry)
    except OSError as error:
        raise CannotServe(
            f"Metrics cannot be served at {options.host}:{options.port}: {error}."
            " Check [metrics] host and port."
        ) from error
    LOG.info("Serving metrics at http://%s:%s/metrics", options.host, options.port)
