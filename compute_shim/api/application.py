# SPDX-License-Identifier: Apache-2.0
"""The application behind the middleware: which handler answers which request."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import routes
import webob
import webob.dec
from oslo_log import log

from compute_shim import exception
from compute_shim.api import errors
from compute_shim.api.call import Call, Service
from compute_shim.api.handlers import attachments, devices, events, hosts, kinds, queue, root
from compute_shim.db import failures
from novaclient_usb.reason_codes import ReasonCode

LOG = log.getLogger(__name__)

Handler = Callable[..., webob.Response]

# No patterns in the paths: handlers say what is wrong with an id. A slash at the end changes nothing.
# The first two are public (`auth`).
ROUTES: dict[str, dict[str, Handler]] = {
    "/": {"GET": root.versions},
    "/v1": {"GET": root.version},
    "/v1/devices": {"GET": devices.index},
    "/v1/devices/{device_id}": {"GET": devices.show, "PATCH": devices.update, "DELETE": devices.delete},
    "/v1/devices/{device_id}/explain": {"GET": devices.explain},
    "/v1/devices/{device_id}/release": {"POST": devices.release},
    "/v1/devices/{device_id}/projects/{project_id}": {"PUT": devices.share, "DELETE": devices.unshare},
    "/v1/devices/{device_id}/events": {"GET": events.of_device},
    "/v1/events": {"GET": events.index},
    "/v1/kinds": {"GET": kinds.index},
    "/v1/servers/{server_id}/attachments": {"GET": attachments.index, "POST": attachments.create},
    "/v1/servers/{server_id}/attachments/{device_id}": {
        "PATCH": attachments.update,
        "GET": attachments.show,
        "DELETE": attachments.delete,
    },
    "/v1/servers/{server_id}/queue": {"GET": queue.of_server, "POST": queue.create},
    "/v1/servers/{server_id}/queue/{entry_id}": {"DELETE": queue.delete},
    "/v1/queue": {"GET": queue.index},
    "/v1/hosts": {"GET": hosts.index},
    "/v1/hosts/{host}": {"GET": hosts.show, "DELETE": hosts.delete},
}


def methods(handlers: Mapping[str, Handler]) -> list[str]:
    """The methods that a resource has: HEAD wherever there is GET (`manners.head`), and OPTIONS."""
    return [*handlers, *(["HEAD"] if "GET" in handlers else []), "OPTIONS"]


def _options(allowed: str, call: Call) -> webob.Response:
    """Which methods there are; of browsers' preflight requests `oslo_middleware.CORS` answers the rest."""
    return webob.Response(status=204, content_type=None, headers={"Allow": allowed})


class Application:
    """A WSGI application."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._mapper = routes.Mapper()
        for path in ROUTES:
            self._mapper.connect(path, route=path)
        self._mapper.create_regs()

    @webob.dec.wsgify
    def __call__(self, request: webob.Request) -> webob.Response:
        try:
            handler, arguments = self._route(request)
            return handler(Call(self._service, request), **arguments)
        except exception.ApiError as error:
            return errors.response(error.status, error.reason_code, str(error), error.headers)
        except Exception as error:
            if not failures.unavailable(error):
                raise
            LOG.error("The database cannot be used: %s", failures.summary(error))
            return errors.response(
                503,
                ReasonCode.DATABASE_UNAVAILABLE,
                "The database of this service is unavailable. Try again later.",
            )

    def _route(self, request: webob.Request) -> tuple[Handler, Mapping[str, str]]:
        try:
            path = request.path_info
        except UnicodeDecodeError:
            raise exception.Invalid("The path of the request is not UTF-8.") from None
        match = self._mapper.match(path.removesuffix("/") or "/")
        if match is None:
            raise exception.NotFound(f"The resource {path} was not found.")
        handlers = ROUTES[match.pop("route")]
        allowed = ", ".join(methods(handlers))
        if request.method == "OPTIONS":
            return functools.partial(_options, allowed), {}
        handler = handlers.get(request.method)
        if handler is None:
            raise exception.MethodNotAllowed(
                f"{request.method} is not allowed for {path}. Allowed methods: {allowed}.",
                headers={"Allow": allowed},
            )
        return handler, match
