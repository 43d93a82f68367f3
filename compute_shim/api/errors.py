# SPDX-License-Identifier: Apache-2.0
"""Errors in the format that keystoneauth, novaclient and the SDK all read."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import webob
import webob.dec
import webob.exc
from oslo_config import cfg
from oslo_log import log
from oslo_middleware import request_id

from compute_shim.api import microversion
from novaclient_usb.reason_codes import ReasonCode

LOG = log.getLogger(__name__)

# Seconds of Retry-After: short for a user who waits, long enough for a service that restarts.
_RETRY_AFTER = "5"

# Of what libraries answer, which know no reason codes.
_CODES = {
    HTTPStatus.BAD_REQUEST: ReasonCode.INVALID_INPUT,
    HTTPStatus.UNAUTHORIZED: ReasonCode.UNAUTHENTICATED,
    HTTPStatus.NOT_ACCEPTABLE: ReasonCode.VERSION_NOT_SUPPORTED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ReasonCode.BODY_TOO_LARGE,
    HTTPStatus.INTERNAL_SERVER_ERROR: ReasonCode.INTERNAL_ERROR,
    # keystonemiddleware, while Keystone does not answer.
    HTTPStatus.SERVICE_UNAVAILABLE: ReasonCode.IDENTITY_UNAVAILABLE,
}


def response(
    code: int, reason_code: ReasonCode, message: str, headers: Mapping[str, str] | None = None
) -> webob.Response:
    """The answer to a request that is refused."""
    answer = webob.Response(json=_body(code, reason_code, message), status=int(code))
    answer.headers.update(headers or {})
    return answer


def _body(code: int, reason_code: ReasonCode, message: str) -> dict[str, Any]:
    title = HTTPStatus(code).phrase
    return {"error": {"code": int(code), "title": title, "reason_code": reason_code, "message": message}}


def _library_code(status: int) -> ReasonCode:
    return _CODES.get(HTTPStatus(status), ReasonCode.HTTP_ERROR)


def json_formatter(*, body: str, status: str, title: str, environ: dict[str, Any]) -> dict[str, Any]:
    """The body of an error of the middleware that negotiates the version (`webob.exc.WSGIHTTPException`)."""
    code = int(status.split()[0])
    answer = _body(code, _library_code(code), _detail(body))
    if answer["error"]["code"] == HTTPStatus.NOT_ACCEPTABLE:
        answer["error"] |= {
            "min_version": microversion.VERSIONS[0],
            "max_version": microversion.VERSIONS[-1],
        }
    return answer


def _detail(text: str) -> str:
    """What webob says of an error, without what it always says of errors of that kind."""
    lines = webob.exc.strip_tags(text).strip().splitlines()
    return lines[-1].strip() if lines else ""


class Errors:
    """Middleware that formats what the application raises and what libraries answer."""

    def __init__(self, application: Any, conf: cfg.ConfigOpts) -> None:
        self._application = application
        self._conf = conf

    @webob.dec.wsgify
    def __call__(self, request: webob.Request) -> webob.Response:
        # The errors of webob are JSON for those who ask for it; ours always are.
        request.accept = "application/json"
        try:
            answer = request.get_response(self._application)
        except Exception:
            LOG.exception("Cannot answer %s %r", request.method, request.path_qs)
            name = request.environ.get(request_id.ENV_REQUEST_ID)
            return response(
                500,
                ReasonCode.INTERNAL_ERROR,
                f"Unexpected error. Report request ID {name} to your cloud administrator.",
            )
        if answer.status_int >= HTTPStatus.BAD_REQUEST:
            self._form(answer)
        if answer.status_int == HTTPStatus.SERVICE_UNAVAILABLE:
            answer.headers.setdefault("Retry-After", _RETRY_AFTER)
        return answer

    def _form(self, answer: webob.Response) -> None:
        try:
            content = answer.json
        except ValueError:
            content = None
        code = answer.status_int
        if isinstance(content, dict) and isinstance(content.get("error"), dict):
            # keystonemiddleware knows the form, but no reason codes.
            content["error"].setdefault("reason_code", _library_code(code))
            answer.json = content
            return
        answer.content_type, answer.charset = "application/json", "UTF-8"
        answer.json = _body(code, _library_code(code), self._message(code, content))

    def _message(self, code: int, content: Any) -> str:
        if code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            size = self._conf.oslo_middleware.max_request_body_size
            return f"The body of the request is larger than {size} bytes."
        if isinstance(content, dict) and isinstance(content.get("message"), str):
            return _detail(content["message"])
        return HTTPStatus(code).description
