# SPDX-License-Identifier: Apache-2.0
"""What the service refuses, and how that is told.

The API answers each with its status, its reason code and its text; the text names the thing, the reason and
the way out.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from novaclient_usb.reason_codes import ReasonCode


class ApiError(Exception):
    """Base of all that a caller can be told.

    :cvar status: of the HTTP answer.
    :cvar reason_code: of the HTTP answer, unless the instance has its own.
    :ivar headers: of the HTTP answer.
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
    """The request cannot be understood."""

    status = HTTPStatus.BAD_REQUEST
    reason_code = ReasonCode.INVALID_INPUT


class Unauthorized(ApiError):
    """The request is not authenticated."""

    status = HTTPStatus.UNAUTHORIZED
    reason_code = ReasonCode.UNAUTHENTICATED


class Forbidden(ApiError):
    """The policy does not allow the request."""

    status = HTTPStatus.FORBIDDEN
    reason_code = ReasonCode.FORBIDDEN


class NotFound(ApiError):
    """There is no such thing, or none that the caller may know of."""

    status = HTTPStatus.NOT_FOUND
    reason_code = ReasonCode.PATH_NOT_FOUND


class MethodNotAllowed(ApiError):
    """The method is not allowed on this resource."""

    status = HTTPStatus.METHOD_NOT_ALLOWED
    reason_code = ReasonCode.METHOD_NOT_ALLOWED


class Conflict(ApiError):
    """The thing is taken, or in the wrong state. Each has a reason code of its own."""

    status = HTTPStatus.CONFLICT


class PreconditionFailed(ApiError):
    """The thing has changed since the caller looked at it."""

    status = HTTPStatus.PRECONDITION_FAILED
    reason_code = ReasonCode.GENERATION_MISMATCH


class OverLimit(ApiError):
    """Somebody would have more than they may. Each has a reason code of its own."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class Unavailable(ApiError):
    """Something that is needed for the answer is away. Each has a reason code of its own."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
