# SPDX-License-Identifier: Apache-2.0
"""Building blocks of the schemas."""

from __future__ import annotations

from typing import Any

from compute_shim.db.models import TEXT_LENGTH
from compute_shim.text import UNPRINTABLE
from novaclient_usb import kinds

# ``\Z``, because ``$`` matches before a line feed too.
UUID = {
    "type": "string",
    "pattern": r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z",
    "description": "a UUID",
}

#: One line of text that every database can hold: no control characters, no halves of characters.
TEXT = {
    "type": "string",
    "maxLength": TEXT_LENGTH,
    "pattern": rf"^[^{UNPRINTABLE}]*\Z",
    "description": f"one line of printable text, of at most {TEXT_LENGTH} characters",
}

KIND = {
    "type": "string",
    "pattern": rf"^(?:{kinds.PATTERN})\Z",
    "description": kinds.WHAT,
}

TRANSPORT = {"enum": ["local", "network", "any"], "description": '"local", "network" or "any"'}

#: Up to ten years.
SECONDS = {
    "type": "integer",
    "minimum": 1,
    "maximum": 315_360_000,
    "description": "a number of seconds from 1 to 315360000",
}

SORT_DIR = {"enum": ["asc", "desc"]}

#: How many items a page has at most.
LIMIT = {"type": "string", "pattern": r"^[1-9][0-9]{0,8}\Z", "description": "a positive integer"}


TIME = {
    "type": "string",
    "pattern": r"^[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}([.][0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})\Z",
    "description": "an ISO 8601 time with a time zone, for example 2026-01-31T12:00:00Z",
}


def listing(filters: dict[str, Any], sort_keys: list[str]) -> dict[str, Any]:
    """The query of a list: filters, and what every list has."""
    sorting = {"sort_key": {"enum": sort_keys}, "sort_dir": SORT_DIR}
    return strict({**filters, **sorting, "limit": LIMIT, "marker": UUID})


def strict(properties: dict[str, Any], required: list[str] | None = None, least: int = 0) -> dict[str, Any]:
    """An object of these properties and no others.

    :param required: those that must be there.
    :param least: how many must be there.
    """
    return {
        "type": "object",
        "properties": properties,
        "required": required or [],
        "minProperties": least,
        "additionalProperties": False,
    }


#: The query of a request that has no parameters.
NOTHING = strict({})


def wrapped(noun: str, content: dict[str, Any]) -> dict[str, Any]:
    """The body of a request: ``{noun: content}``."""
    return strict({noun: content}, required=[noun])
