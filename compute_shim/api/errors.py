# SPDX-License-Identifier: Apache-2.0
"""Errors in the one form that keystoneauth, novaclient and the SDK all read."""

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

LOG = log.getLogger(__name__)


def response(code: int, message: str, headers: Mapping[str, str] | None = None) -> webob.Response:
    """The answer to a request that is refused."""
    answer = webob.Response(json=_body(code, message), status=int(code))
    answer.headers.update(headers or {})
    return answer


def _body(code: int, message: str) -> dict[str, Any]:
    return {"error": {"code": int(code), "title": HTTPStatus(code).phrase, "message": message}}


def json_formatter(*, body: str, status: str, title: str, environ: dict[str, Any]) -> dict[str, Any]:
    """The body of an error of the middleware that negotiates the version (`webob.exc.WSGIHTTPException`)."""
    answer = _body(int(status.split()[0]), _detail(body))
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
    """Middleware that gives the one form to what the application raises and what libraries answer."""

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
            return response(500, f"Something unexpected happened. Tell the operator of this cloud: {name}.")
        if answer.status_int >= HTTPStatus.BAD_REQUEST:
            self._form(answer)
        return answer

    def _form(self, answer: webob.Response) -> None:
        try:
            content = answer.json
        except ValueError:
            content = None
        if isinstance(content, dict) and "error" in content:
            return
        answer.content_type, answer.charset = "application/json", "UTF-8"
        answer.json = _body(answer.status_int, self._message(answer.status_int, content))

    def _message(self, code: int, content: Any) -> str:
        if code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            size = self._conf.oslo_middleware.max_request_body_size
            return f"The body of the request is larger than {size} bytes."
        if isinstance(content, dict) and isinstance(content.get("message"), str):
            return _detail(content["message"])
        return HTTPStatus(code).description
