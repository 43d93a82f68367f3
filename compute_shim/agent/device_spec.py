# SPDX-License-Identifier: Apache-2.0
"""The rules of ``[usb] device_spec``: which devices of this host may be given away."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable
from typing import Any

_PATTERNS = {
    "vendor_id": r"[0-9a-fA-F]{4}",
    "product_id": r"[0-9a-fA-F]{4}",
    "device_class": r"[0-9a-fA-F]{2}",
    "port": r"[0-9]+-[0-9]+(\.[0-9]+)*",
    "serial": r".+",
}
_HEXADECIMAL = {"vendor_id", "product_id", "device_class"}


class InvalidDeviceSpec(ValueError):
    """A rule that cannot be read; the text names the rule and the reason."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """One rule: what a device must have to match, and whether it is allowed then."""

    wanted: tuple[tuple[str, str], ...]
    allow: bool

    def matches(self, device: Any) -> bool:
        """Has the device all the values that the rule names?"""
        return all(getattr(device, key) == value for key, value in self.wanted)


def parse(values: Iterable[str]) -> list[Rule]:
    """The rules of the option's values, in their order.

    :raises InvalidDeviceSpec: not JSON, an unknown key, or a value that cannot be
    """
    rules: list[Rule] = []
    for value in values:
        try:
            loaded = json.loads(value)
        except ValueError as error:
            raise InvalidDeviceSpec(f"[usb] device_spec: not JSON: {value!r}: {error}") from None
        rules += [_rule(item, value) for item in (loaded if isinstance(loaded, list) else [loaded])]
    return rules


def allows(rules: Iterable[Rule], device: Any) -> bool:
    """Does the first rule that matches the device allow it? Without a match: no."""
    for rule in rules:
        if rule.matches(device):
            return rule.allow
    return False


def _rule(item: Any, value: str) -> Rule:
    if not isinstance(item, dict):
        raise InvalidDeviceSpec(f"[usb] device_spec: not an object: {value!r}")
    item = dict(item)
    allow = item.pop("allow", True)
    if not isinstance(allow, bool):
        raise InvalidDeviceSpec(f"[usb] device_spec: allow must be true or false: {value!r}")
    wanted = []
    for key, wish in item.items():
        if key not in _PATTERNS:
            known = ", ".join([*_PATTERNS, "allow"])
            raise InvalidDeviceSpec(f"[usb] device_spec: unknown key {key!r} in {value!r}; known: {known}")
        if not isinstance(wish, str) or not re.fullmatch(_PATTERNS[key], wish):
            raise InvalidDeviceSpec(f"[usb] device_spec: {wish!r} is no {key}: {value!r}")
        wanted.append((key, wish.lower() if key in _HEXADECIMAL else wish))
    return Rule(tuple(wanted), allow)
