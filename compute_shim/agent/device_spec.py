# SPDX-License-Identifier: Apache-2.0
"""The rules of ``[usb] device_spec``: which devices of this host are offered."""

from __future__ import annotations

import dataclasses
import json
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from compute_shim.agent import guarded
from compute_shim.objects import Handover, Plugged
from novaclient_usb import kinds


class InvalidDeviceSpec(ValueError):
    """A malformed rule. The text is one line with the option, the value, and the valid values."""


@dataclasses.dataclass(frozen=True)
class _Key:
    """A key of a rule.

    :param pattern: of the whole value.
    :param right: the valid values, as text.
    :param matches: whether a device matches the value.
    :param found: the value of a device, as text.
    :param normal: normalizes a value for comparison.
    """

    pattern: str
    right: str
    matches: Callable[[Plugged, str], bool]
    found: Callable[[Plugged], str]
    normal: Callable[[str], str] = str.lower


def folded(serial: str) -> str:
    """A serial number, normalized for comparison: without padding, in one case."""
    return " ".join(serial.split()).casefold()


def _sockets(device: Plugged) -> list[str]:
    """The names of a device's socket: by bus number, and by the stable path of its controller."""
    return [device.port, *filter(None, [device.socket])]


def _in_place(device: Plugged, wish: str) -> bool:
    prefix = wish.removesuffix("*")
    return any(place.startswith(prefix) if wish != prefix else place == wish for place in _sockets(device))


def _same(name: str, pattern: str, right: str) -> _Key:
    """A key that compares values without regard to case."""
    return _Key(pattern, right, lambda device, wish: getattr(device, name) == wish, operator.attrgetter(name))


_ID = ("[0-9a-fA-F]{4}", "four hexadecimal digits in quotes, as lsusb prints them")
_KEYS = {
    "vendor_id": _same("vendor_id", *_ID),
    "product_id": _same("product_id", *_ID),
    "serial": _Key(
        r"(?s:.*\S.*)",
        "a serial number in quotes",
        lambda device, wish: folded(device.serial) == wish,
        lambda device: device.serial or "none",
        folded,
    ),
    "port": _Key(
        r"[0-9]+-([0-9]+(\.[0-9]+)*|[0-9.]*\*)|[A-Za-z][A-Za-z0-9:._-]*\*?",
        'a port such as "1-4.2" or a socket, as usb-shim-manage devices prints them, or its beginning and *',
        _in_place,
        lambda device: " ".join(_sockets(device)),
        str,
    ),
    "class": _Key(
        "([0-9a-fA-F]{2}){1,3}",
        'two, four or six hexadecimal digits in quotes: class, subclass, protocol, such as "08" or "030101"',
        lambda device, wish: any(triple.startswith(wish) for triple in device.classes),
        lambda device: " ".join(device.classes),
    ),
    "device_class": _same("device_class", "[0-9a-fA-F]{2}", 'two hexadecimal digits in quotes, such as "08"'),
    "speed": _same(
        "speed",
        r"[0-9]+(\.[0-9]+)?",
        'Mb/s in quotes: "1.5", "12", "480", "5000", "10000" or "20000"',
    ),
}
_FOLLOW = ("device", "socket")
_KNOWN = (*_KEYS, "allow", "follow", "shared", "projects", "kind", "handover", "network")
# Keystone, keystone/api/validation/parameter_types.py: ID_STRING.
_PROJECT = re.compile(r"[a-zA-Z0-9-]{1,64}")
_KIND = re.compile(kinds.PATTERN)
_MODEL = {"vendor_id", "product_id"}
# https://www.usb.org/defined-class-codes
_MASS_STORAGE = "08"


@dataclasses.dataclass(frozen=True)
class Rule:
    """One rule: its match values, and what applies to matching devices.

    :param number: its position among all rules, from 1.
    :param text: as JSON, on one line.
    :param wanted: the values to match, by key.
    :param follow: what a claim is bound to: the device, or any device in its socket.
    :param shared: whether the devices are shared with all projects.
    :param projects: ids of the projects that the devices are shared with.
    :param kind: of the devices; empty: none.
    :param handover: the action between two projects; None: the default.
    :param network: whether servers on other hosts may have the devices, over the network.
    """

    number: int
    text: str
    wanted: tuple[tuple[str, str], ...] = ()
    allow: bool = True
    follow: str = "device"
    shared: bool = False
    projects: tuple[str, ...] = ()
    kind: str = ""
    handover: Handover | None = None
    network: bool = False

    def handover_of(self, device: Plugged) -> Handover:
        """The action between two projects for a device that this rule offers."""
        if self.handover is not None:
            return self.handover
        stores = any(triple.startswith(_MASS_STORAGE) for triple in (device.device_class, *device.classes))
        return Handover.HOLD if stores else Handover.NONE

    def matches(self, device: Plugged) -> bool:
        """Whether this rule matches the device."""
        return all(_KEYS[key].matches(device, wish) for key, wish in self.wanted) and not self._spares(device)

    def mismatch(self, device: Plugged) -> str | None:
        """The first reason why the rule does not match the device, as text; None if it matches."""
        for key, wish in self.wanted:
            if not _KEYS[key].matches(device, wish):
                return f"{key} is {_KEYS[key].found(device)!r}"
        if self._spares(device):
            return f"{guarded.kind(device)} needs a rule with vendor_id and product_id"
        return None

    def _spares(self, device: Plugged) -> bool:
        """Whether this rule is too broad to offer a device that the host may need."""
        is_wide = self.allow and not {key for key, _ in self.wanted} >= _MODEL
        return is_wide and guarded.kind(device) is not None


def parse(values: Iterable[str]) -> list[Rule]:
    """The rules of the option's values, in their order.

    :raises InvalidDeviceSpec: not JSON, an unknown key, or an invalid value
    """
    items = [(item, value) for value in values for item in _items(value)]
    return [_rule(number, item, value) for number, (item, value) in enumerate(items, start=1)]


def decide(rules: Iterable[Rule], device: Plugged) -> Rule | None:
    """The first rule that matches a device; None if none matches: it is not offered."""
    return next((rule for rule in rules if rule.matches(device)), None)


def follows(rules: Iterable[Rule], device: Plugged) -> bool:
    """Whether the rules offer a device, and have claims on it follow its socket."""
    rule = decide(rules, device)
    return rule is not None and rule.allow and rule.follow == "socket"


def allows(rules: Iterable[Rule], device: Plugged) -> bool:
    """Whether the rules offer a device."""
    rule = decide(rules, device)
    return rule is not None and rule.allow


def _refuse(value: str, reason: str) -> InvalidDeviceSpec:
    return InvalidDeviceSpec(f"[usb] device_spec: {reason}: {value!r}")


def _items(value: str) -> list[Any]:
    """The rules in one value of the option, not yet validated."""
    try:
        loaded = json.loads(value, object_pairs_hook=_unique)
    except RecursionError:
        raise _refuse(value[:100], "nested too deeply") from None
    except ValueError as error:
        raise _refuse(value, f'not JSON, such as {{"vendor_id": "0781"}}: {error}') from None
    return loaded if isinstance(loaded, list) else [loaded]


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise ValueError(f"the key {twice!r} is there twice; name it once")
    return dict(pairs)


def _rule(number: int, item: Any, value: str) -> Rule:
    if not isinstance(item, dict):
        raise _refuse(value, f"{item!r} is not an object; a rule is one in braces, or a list of them")
    unknown = next((key for key in item if key not in _KNOWN), None)
    if unknown is not None:
        raise _refuse(value, f"unknown key {unknown!r}; known: {', '.join(_KNOWN)}")
    wanted = tuple((key, _wish(key, item[key], value)) for key in item if key in _KEYS)
    return Rule(
        number,
        json.dumps(item, ensure_ascii=False),
        wanted,
        allow=_flag("allow", item.get("allow", True), value),
        follow=_follow(item.get("follow", "device"), value),
        shared=_flag("shared", item.get("shared", False), value),
        projects=_projects(item.get("projects", []), value),
        kind=_kind(item.get("kind", ""), value),
        handover=_handover(item.get("handover"), value),
        network=_flag("network", item.get("network", False), value),
    )


def _flag(key: str, said: Any, value: str) -> bool:
    if not isinstance(said, bool):
        raise _refuse(value, f"{said!r} is no {key}; {key} must be true or false, without quotes")
    return said


def _follow(said: Any, value: str) -> str:
    if said not in _FOLLOW:
        raise _refuse(value, f'{said!r} is no follow; follow must be "device" or "socket"')
    return said


def _projects(said: Any, value: str) -> tuple[str, ...]:
    items = said if isinstance(said, list) else [said]
    wrong = next((item for item in items if not isinstance(item, str) or not _PROJECT.fullmatch(item)), None)
    if wrong is not None or not isinstance(said, list):
        raise _refuse(value, f"{said!r} is no projects; right is a list of project ids, each in quotes")
    return tuple(sorted(set(items)))


def _kind(said: Any, value: str) -> str:
    if not isinstance(said, str) or (said and not _KIND.fullmatch(said)):
        raise _refuse(value, f"{said!r} is no kind; right is {kinds.WHAT}, in quotes")
    return said


def _handover(said: Any, value: str) -> Handover | None:
    if said is not None and said not in tuple(Handover):
        known = ", ".join(f'"{name}"' for name in Handover)
        raise _refuse(value, f"{said!r} is no handover; handover must be one of {known}")
    return None if said is None else Handover(said)


def _wish(key: str, wish: Any, value: str) -> str:
    if not isinstance(wish, str) or not re.fullmatch(_KEYS[key].pattern, wish):
        raise _refuse(value, f"{wish!r} is no {key}; right is {_KEYS[key].right}")
    return _KEYS[key].normal(wish)
