# SPDX-License-Identifier: Apache-2.0
"""Authentication of the caller."""

from __future__ import annotations

from typing import Any

import webob
import webob.dec
import webob.exc
from keystoneauth1 import exceptions as ks_exceptions
from keystonemiddleware import auth_token
from oslo_config import cfg
from oslo_context import context as oslo_context
from oslo_log import log
from oslo_middleware import request_id

from compute_shim.api import microversion
from compute_shim.api.call import CONTEXT
from compute_shim.conf import keystone_authtoken
from compute_shim.conf.keystone_authtoken import GROUP

LOG = log.getLogger(__name__)

_PUBLIC = ("", "/v1")


def keystone(application: Any, conf: cfg.ConfigOpts) -> Any:
    """Middleware that requires a valid token, except for public paths.

    Does not use ``delay_auth_decision``, which treats an unavailable Keystone as an invalid token.
    """
    keystone_authtoken.register(conf)
    # Without it application credentials with access rules are refused, whatever their rules say.
    conf.set_default("service_type", microversion.SERVICE_TYPE, group=GROUP)
    # Two tries, while somebody waits, take no more than half of the time that there is.
    conf.set_default("http_request_max_retries", 1, group=GROUP)
    conf.set_default("http_connect_timeout", max(1, conf.api.request_timeout // 4), group=GROUP)
    checked = _Tokens(application, {"oslo_config_config": conf})

    @webob.dec.wsgify
    def choose(request: webob.Request) -> Any:
        return application if _public(request) else checked

    return choose


class _Tokens(auth_token.AuthProtocol):
    """Returns 503 whenever Keystone cannot validate the token.

    keystonemiddleware (13.0) does so if the connection is refused, but raises the exception if the response
    times out or the certificate is not trusted.
    """

    def fetch_token(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().fetch_token(*args, **kwargs)
        except ks_exceptions.ClientException as error:
            LOG.critical("Unable to validate token: %s", error)
            raise webob.exc.HTTPServiceUnavailable(
                "The Keystone service is temporarily unavailable."
            ) from error


def _public(request: webob.Request) -> bool:
    """Version documents, and what browsers ask before they send a token (Fetch Standard, CORS-preflight)."""
    return request.method == "OPTIONS" or request.environ["PATH_INFO"].removesuffix("/") in _PUBLIC


def context(application: Any, conf: cfg.ConfigOpts) -> Any:
    """Middleware that makes a context from the token (the headers that keystonemiddleware sets)."""

    @webob.dec.wsgify
    def add(request: webob.Request) -> Any:
        request.environ[CONTEXT] = oslo_context.RequestContext.from_environ(request.environ)
        return application

    return add


def forget_last_caller(application: Any, conf: cfg.ConfigOpts) -> Any:
    """Middleware that gives a request its own context before the caller is known.

    oslo.log writes the context of the thread into each line; without this, that of the request before would
    stay until `context` replaces it, and stand in what keystonemiddleware says of a bad token.
    """

    @webob.dec.wsgify
    def replace(request: webob.Request) -> Any:
        environ = request.environ
        oslo_context.RequestContext(
            request_id=environ.get(request_id.ENV_REQUEST_ID),
            global_request_id=environ.get(request_id.GLOBAL_REQ_ID),
        )
        return application

    return replace
