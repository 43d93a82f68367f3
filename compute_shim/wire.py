# SPDX-License-Identifier: Apache-2.0
"""How objects cross the message bus between programs whose versions differ.

Who receives ignores fields that it does not know and uses the default for those that are missing. Who sends
leaves out what the receiver's RPC version does not have: before RPC 1.1, receivers refused unknown fields.
Local fields (`compute_shim.objects.LOCAL`) are neither sent nor received.
Texts of RPC 1.0, which had no reason codes, are translated by `compute_shim.legacy_reasons`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, TypeVar

_Kind = TypeVar("_Kind")

#: A version of the RPC that compares: major, minor.
Version = tuple[int, int]

#: The version before reason codes, in which no field said since when it is sent.
FIRST: Version = (1, 0)


def number(version: str) -> Version:
    """``MAJOR.MINOR`` as numbers; the first version if it is none of that form."""
    major, _, minor = version.partition(".")
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else FIRST


def encode(value: Any, version: Version) -> dict[str, Any]:
    """A dataclass object as a dict for a receiver that speaks this version of the RPC."""
    return {name: getattr(value, name) for name in _names(value.__class__, version)}


@functools.cache
def _names(kind: type, version: Version) -> tuple[str, ...]:
    """The fields of a dataclass that a receiver of this version knows."""
    return tuple(
        field.name for field in sent_fields(kind) if number(field.metadata.get("since", "")) <= version
    )


def decode(kind: type[_Kind], value: Mapping[str, Any]) -> _Kind:
    """An object of a dataclass from what a sender of any version made of it.

    :raises TypeError: a field without default is missing
    """
    fields = sent_fields(kind)  # type: ignore[arg-type]  # a class can be hashed, which mypy does not see
    return kind(**{field.name: value[field.name] for field in fields if field.name in value})


@functools.cache
def sent_fields(kind: type) -> tuple[dataclasses.Field[Any], ...]:
    """Those of a dataclass that are not local."""
    return tuple(field for field in dataclasses.fields(kind) if not field.metadata.get("local"))
