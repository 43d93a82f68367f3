# SPDX-License-Identifier: Apache-2.0
"""Health checks for load balancers.

``/healthcheck`` reports that the process responds, ``/healthcheck/deep`` also that the database is available.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import oslo_middleware
import webob
import webob.dec
from oslo_config import cfg
from oslo_log import log

from compute_shim.bounded import Bounded
from compute_shim.db import readiness
from compute_shim.db.api import Database

LOG = log.getLogger(__name__)

# Seconds. Load balancers give up after some more (HAProxy's "timeout check", for one).
_PATIENCE = 2


def healthcheck(application: Any, conf: cfg.ConfigOpts) -> Any:
    """Middleware that reports that the process responds."""
    answer = oslo_middleware.Healthcheck(None, conf)

    @webob.dec.wsgify
    def choose(request: webob.Request) -> Any:
        return answer if request.environ["PATH_INFO"] == "/healthcheck" else application

    return choose


def deep(db: Database) -> Callable[[Any, cfg.ConfigOpts], Any]:
    """Makes middleware that reports whether the database is available."""
    checks = Bounded(1)

    def check() -> None:
        checks.run(lambda: readiness.check(db), _PATIENCE)

    def middleware(application: Any, conf: cfg.ConfigOpts) -> Any:
        @webob.dec.wsgify
        def choose(request: webob.Request) -> Any:
            return _answer(check) if request.environ["PATH_INFO"] == "/healthcheck/deep" else application

        return choose

    return middleware


def _answer(check: Callable[[], None]) -> webob.Response:
    """200, or 503 with the reason in one line; what the database said is for the log."""
    try:
        check()
    except TimeoutError:
        reason = f"The database did not respond within {_PATIENCE} s."
        LOG.warning("%s", reason)
    except readiness.Unusable as error:
        reason = str(error)
        LOG.warning("%s %s", error, error.details)
    else:
        return webob.Response("OK\n", content_type="text/plain")
    return webob.Response(f"{reason}\n", status=503, content_type="text/plain")
