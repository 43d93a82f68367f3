# SPDX-License-Identifier: Apache-2.0
"""Errors of all kinds, in one form."""

from __future__ import annotations

from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import pytest
import webob
import webob.dec
import webob.exc

from compute_shim.api.errors import Errors
from novaclient_usb.reason_codes import ReasonCode

CONF = SimpleNamespace(oslo_middleware=SimpleNamespace(max_request_body_size=114688))


def ask(application: Any, **headers: str) -> webob.Response:
    """What a client gets from an application behind the middleware."""
    return webob.Request.blank("/x?y=1", headers=headers).get_response(Errors(application, CONF))


def test_an_exception_tells_a_client_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def application(environ: Any, start_response: Any) -> Any:
        environ["openstack.request_id"] = "req-1"
        raise KeyError("secret")

    answer = ask(application)
    assert answer.status_int == 500
    assert answer.json["error"]["code"] == 500
    assert answer.json["error"]["title"] == "Internal Server Error"
    assert "req-1" in answer.json["error"]["message"]
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "secret" in caplog.text


@pytest.mark.parametrize("accept", ["*/*", "text/html", "text/plain", "application/json"])
@pytest.mark.parametrize(
    ("error", "reason_code"),
    [
        (webob.exc.HTTPServiceUnavailable("Keystone <b>is</b> away."), ReasonCode.IDENTITY_UNAVAILABLE),
        (webob.exc.HTTPUnauthorized("Keystone <b>is</b> away."), ReasonCode.UNAUTHENTICATED),
        (webob.exc.HTTPGone("Keystone <b>is</b> away."), ReasonCode.HTTP_ERROR),
        (webob.exc.HTTPBadRequest("Keystone <b>is</b> away."), ReasonCode.INVALID_INPUT),
    ],
    ids=["503", "401", "410", "400"],
)
def test_what_libraries_answer_gets_our_form(
    error: webob.exc.WSGIHTTPException, reason_code: ReasonCode, accept: str
) -> None:
    answer = ask(error, Accept=accept)
    assert answer.content_type == "application/json"
    assert answer.json["error"] == {
        "code": error.code,
        "title": HTTPStatus(error.code).phrase,
        "reason_code": reason_code,
        "message": "Keystone is away.",
    }


def test_who_has_to_wait_is_told_how_long() -> None:
    answer = ask(webob.exc.HTTPServiceUnavailable("Keystone is away."))
    assert int(answer.headers["Retry-After"]) > 0
    answer = ask(webob.exc.HTTPServiceUnavailable("Keystone is away.", headers={"Retry-After": "77"}))
    assert answer.headers["Retry-After"] == "77"
    assert "Retry-After" not in ask(webob.exc.HTTPConflict()).headers


def test_a_body_that_is_too_large_is_told_the_limit() -> None:
    answer = ask(webob.exc.HTTPRequestEntityTooLarge("Request is too large (%s)."))
    assert answer.json["error"]["message"] == "The body of the request is larger than 114688 bytes."


@pytest.mark.parametrize("body", ["<html>", "[5]", '{"detail": 5}', '{"message": 5}', '{"error": "no"}'])
def test_a_strange_body_is_replaced(body: str) -> None:
    answer = ask(webob.Response(status=502, text=body, content_type="text/html"))
    assert answer.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert answer.json["error"]["message"] == HTTPStatus(502).description
    assert answer.json["error"]["code"] == 502
    assert answer.json["error"]["title"] == "Bad Gateway"


def test_our_own_form_and_headers_are_left_alone() -> None:
    body = {"error": {"code": 405, "title": "x", "reason_code": "method_not_allowed", "message": "No."}}
    answer = ask(webob.Response(json=body, status=405, headers={"Allow": "GET"}))
    assert answer.json == body
    assert answer.headers["Allow"] == "GET"


def test_what_keystonemiddleware_answers_gets_a_reason_code() -> None:
    body = {"error": {"code": 401, "title": "Unauthorized", "message": "No."}}
    answer = ask(webob.Response(json=body, status=401, headers={"WWW-Authenticate": "Keystone"}))
    assert answer.json["error"] == {**body["error"], "reason_code": "unauthenticated"}
    assert answer.headers["WWW-Authenticate"] == "Keystone"


def test_what_is_no_error_is_left_alone() -> None:
    answer = ask(webob.Response(text="fine", content_type="text/plain"))
    assert (answer.status_int, answer.text, answer.content_type) == (200, "fine", "text/plain")
