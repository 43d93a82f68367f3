# SPDX-License-Identifier: Apache-2.0
"""Middleware for what clients and browsers expect of every resource."""

from __future__ import annotations

from typing import Any

import oslo_middleware
import webob
import webob.dec
from oslo_config import cfg
from oslo_middleware import cors as oslo_cors

from compute_shim import deadline

# What our clients send and read beside the headers that every browser allows.
_REQUEST_HEADERS = ["X-Auth-Token", "X-OpenStack-Request-ID", "OpenStack-API-Version", "If-Match"]
_RESPONSE_HEADERS = ["X-OpenStack-Request-ID", "OpenStack-API-Version", "ETag", "Retry-After"]
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


def limit(application: Any, conf: cfg.ConfigOpts) -> Any:
    """Middleware that limits a request to ``[api] request_timeout``."""

    @webob.dec.wsgify
    def answer(request: webob.Request) -> webob.Response:
        with deadline.within(conf.api.request_timeout):
            return request.get_response(application)

    return answer


def head(application: Any, conf: cfg.ConfigOpts) -> Any:
    """HEAD is GET without the body (RFC 9110, section 9.3.2)."""

    @webob.dec.wsgify
    def answer(request: webob.Request) -> Any:
        if request.method != "HEAD":
            return application
        request.method = "GET"
        response = request.get_response(application)
        request.method = "HEAD"
        return response

    return answer


def cors(application: Any, conf: cfg.ConfigOpts) -> Any:
    """Let scripts from other sites in, if ``[cors] allowed_origin`` names them."""
    conf.register_opts(oslo_cors.OPTS, "cors")
    conf.set_default("allow_headers", _REQUEST_HEADERS, group="cors")
    conf.set_default("expose_headers", _RESPONSE_HEADERS, group="cors")
    conf.set_default("allow_methods", _METHODS, group="cors")
    return oslo_middleware.CORS(application, conf)
