# SPDX-License-Identifier: Apache-2.0
"""Input from outside, refused with the name of the field that is wrong."""

from __future__ import annotations

import datetime
import json
import re
from typing import Any

import jsonschema
import webob

from compute_shim import exception
from compute_shim.api.schemas import base

# Characters of somebody's input that an error message repeats.
_QUOTED = 200


def body(request: webob.Request, schema: dict[str, Any]) -> dict[str, Any]:
    """The JSON body of a request.

    :raises compute_shim.exception.Invalid: it is no JSON, or does not match the schema
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

    :raises compute_shim.exception.Invalid: one is unknown, wrong or there twice
    """
    try:
        pairs = list(request.GET.items())
    except UnicodeDecodeError:
        raise exception.Invalid("The query of the request is not UTF-8.") from None
    values = dict(pairs)
    if len(values) != len(pairs):
        raise exception.Invalid("The query of the request has a parameter twice.")
    _check(values, schema)
    return values


def one_of_two(noun: str, wanted: dict[str, Any]) -> None:
    """Something is asked for by the id of a device or by a kind, and not by both.

    :param noun: in which the body has it.
    :raises compute_shim.exception.Invalid: it is not
    """
    if len({"device_id", "kind"} & wanted.keys()) != 1:
        raise exception.Invalid(f"Invalid input: {noun}: it must have either device_id or kind.")


def uuid(value: str) -> str | None:
    """A UUID as it is stored, None if that is none."""
    return value.lower() if re.search(base.UUID["pattern"], value) else None


def moment(field: str, value: str) -> datetime.datetime:
    """A time that somebody gives, as it is stored: UTC without a zone.

    :param field: where it is given, for people.
    :param value: fits `base.TIME`.
    :raises compute_shim.exception.Invalid: there is no such time
    """
    try:
        return datetime.datetime.fromisoformat(value).astimezone(datetime.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise exception.Invalid(f"Invalid input: {field}: there is no such time.") from None


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
