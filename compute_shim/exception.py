# SPDX-License-Identifier: Apache-2.0
"""Errors that the API returns to callers.

Each has an HTTP status, a reason code and a text. The text names the resource, the reason and the remedy.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from novaclient_usb.reason_codes import ReasonCode


class ApiError(Exception):
    """Base class of all errors that are returned to callers.

    :cvar status: of the HTTP response.
    :cvar reason_code: default reason code of the HTTP response.
    :ivar headers: of the HTTP response.
    """

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    reason_code = ReasonCode.INTERNAL_ERROR

    def __init__(
        self,
        message: str,
        reason_code: ReasonCode | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason_code = reason_code or type(self).reason_code
        self.headers = dict(headers or {})


class Invalid(ApiError):
    """The request is invalid."""

    status = HTTPStatus.BAD_REQUEST
    reason_code = ReasonCode.INVALID_INPUT


class Unauthorized(ApiError):
    """The request is not authenticated."""

    status = HTTPStatus.UNAUTHORIZED
    reason_code = ReasonCode.UNAUTHENTICATED


class Forbidden(ApiError):
    """Policy does not allow the request."""

    status = HTTPStatus.FORBIDDEN
    reason_code = ReasonCode.FORBIDDEN


class NotFound(ApiError):
    """The resource does not exist, or the caller may not see it."""

    status = HTTPStatus.NOT_FOUND
    reason_code = ReasonCode.PATH_NOT_FOUND


class MethodNotAllowed(ApiError):
    """The method is not allowed on this resource."""

    status = HTTPStatus.METHOD_NOT_ALLOWED
    reason_code = ReasonCode.METHOD_NOT_ALLOWED


class Conflict(ApiError):
    """The resource is in use or in the wrong state. Set a reason code."""

    status = HTTPStatus.CONFLICT


class PreconditionFailed(ApiError):
    """The resource has changed since the caller retrieved it."""

    status = HTTPStatus.PRECONDITION_FAILED
    reason_code = ReasonCode.GENERATION_MISMATCH


class OverLimit(ApiError):
    """The request exceeds a limit. Set a reason code."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class Unavailable(ApiError):
    """A required service is unavailable. Set a reason code."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
