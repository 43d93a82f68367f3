# SPDX-License-Identifier: Apache-2.0
"""What the service refuses, and how that is told.

The API answers each with its status and its text; the text names the thing, the reason and the way out.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus


class Refused(Exception):
    """Base of all that a caller can be told.

    :cvar status: of the HTTP answer.
    :ivar headers: of the HTTP answer.
    """

    status = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.headers = dict(headers or {})


class Invalid(Refused):
    """The request cannot be understood."""

    status = HTTPStatus.BAD_REQUEST


class Unauthorized(Refused):
    """Nobody knows who is asking."""

    status = HTTPStatus.UNAUTHORIZED


class Forbidden(Refused):
    """The policy says no."""

    status = HTTPStatus.FORBIDDEN


class NotFound(Refused):
    """There is no such thing, or none that the caller may know of."""

    status = HTTPStatus.NOT_FOUND


class MethodNotAllowed(Refused):
    """One does not do that to this."""

    status = HTTPStatus.METHOD_NOT_ALLOWED


class Conflict(Refused):
    """Not now: it is taken, or in the wrong state."""

    status = HTTPStatus.CONFLICT


class Unavailable(Refused):
    """Something that is needed for the answer is away."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
