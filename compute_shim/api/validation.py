# SPDX-License-Identifier: Apache-2.0
"""Validation of requests. Errors name the invalid field."""

from __future__ import annotations

import datetime
import json
import re
from typing import Any

import jsonschema
import webob

from compute_shim import exception
from compute_shim.api.schemas import base

# Maximum number of characters of the input in an error message.
_QUOTED = 200


def body(request: webob.Request, schema: dict[str, Any]) -> dict[str, Any]:
    """The JSON body of a request.

    :raises compute_shim.exception.Invalid: it is not JSON, or does not match the schema
    """
    try:
        value = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise exception.Invalid(f"The body of the request is not JSON: {reason}.") from None
    _check(value, schema)
    return value


def query(request: webob.Request, schema: dict[str, Any]) -> dict[str, str]:
    """The parameters of a request's query.

    :raises compute_shim.exception.Invalid: a parameter is unknown, invalid or repeated
    """
    try:
        pairs = list(request.GET.items())
    except UnicodeDecodeError:
        raise exception.Invalid("The query of the request is not UTF-8.") from None
    values = dict(pairs)
    if len(values) != len(pairs):
        raise exception.Invalid("A query parameter is specified more than once.")
    _check(values, schema)
    return values


def one_of_two(noun: str, wanted: dict[str, Any]) -> None:
    """Check that a request has either a device id or a kind.

    :param noun: the parent field in the body.
    :raises compute_shim.exception.Invalid: it has neither or both
    """
    if len({"device_id", "kind"} & wanted.keys()) != 1:
        raise exception.Invalid(f"Invalid input: {noun}: it must have either device_id or kind.")


def uuid(value: str) -> str | None:
    """A UUID as it is stored, None if the value is not a UUID."""
    return value.lower() if re.search(base.UUID["pattern"], value) else None


def moment(field: str, value: str) -> datetime.datetime:
    """A time as it is stored: UTC without a time zone.

    :param field: the name of the field, for the error.
    :param value: matches `base.TIME`.
    :raises compute_shim.exception.Invalid: the time does not exist
    """
    try:
        return datetime.datetime.fromisoformat(value).astimezone(datetime.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise exception.Invalid(f"Invalid input: {field}: it must be a valid time.") from None


def _check(value: Any, schema: dict[str, Any]) -> None:
    errors = jsonschema.Draft202012Validator(schema).iter_errors(value)
    error = jsonschema.exceptions.best_match(errors)
    if error is None:
        return
    field = ".".join(str(part) for part in error.absolute_path) or "request body"
    wanted = error.schema.get("description") if isinstance(error.schema, dict) else None
    reason = f"it must be {wanted}" if wanted else error.message
    if len(reason) > _QUOTED:
        reason = f"{reason[:_QUOTED]}..."
    raise exception.Invalid(f"Invalid input: {field}: {reason}.")
