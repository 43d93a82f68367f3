# SPDX-License-Identifier: Apache-2.0
"""The application and the middleware around it."""

from __future__ import annotations

from typing import Any

import microversion_parse.middleware
import oslo_middleware
from oslo_config import cfg

from compute_shim import audit_log, policies
from compute_shim.api import auth, errors, health, manners, microversion
from compute_shim.api.application import Application
from compute_shim.api.call import Compute, Identity, Nudger, Service
from compute_shim.db.api import Database


def negotiation(application: Any, conf: cfg.ConfigOpts) -> Any:
    """Find out which version of the API the client wants."""
    return microversion_parse.middleware.MicroversionMiddleware(
        application,
        microversion.SERVICE_TYPE,
        microversion.VERSIONS,
        json_error_formatter=errors.json_formatter,
    )


def deploy(conf: cfg.ConfigOpts, db: Database, nova: Compute, keystone: Identity, nudger: Nudger) -> Any:
    """The WSGI application."""
    db.on_commit(audit_log.write)
    application: Any = Application(Service(conf, db, nova, keystone, nudger, policies.enforcer(conf)))
    # A request goes through this list from its end to its beginning.
    for middleware in (
        negotiation,
        auth.context,
        auth.keystone,
        oslo_middleware.RequestBodySizeLimiter,
        manners.limit,
        errors.Errors,
        manners.head,
        manners.cors,
        health.healthcheck,
        health.deep(db),
        auth.forget_last_caller,
        oslo_middleware.RequestId,
        oslo_middleware.HTTPProxyToWSGI,
    ):
        application = middleware(application, conf)
    return application
