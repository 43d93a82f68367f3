# SPDX-License-Identifier: Apache-2.0
"""Detects network adapters of a vendor-specific class: devices for which Linux has a network driver.

The kernel's table (``modules.alias``) contains them whether or not a driver is bound.
"""

from __future__ import annotations

import collections
import functools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

_FOLDERS = (b"/drivers/net/", b"/drivers/bluetooth/")

# Linux, scripts/mod/file2alias.c: do_usb_entry. An alias may be for some revisions (d) or interfaces (in)
# only; such a device is taken for one in any case.
_ALIAS = re.compile(
    rb"alias usb:v([0-9A-F]{4}|\*)p([0-9A-F]{4}|\*)d\S*?"
    rb"dc(..|\*)dsc(..|\*)dp(..|\*)ic(..|\*)isc(..|\*)ip(..|\*)in\S* (\S+)"
)

# Product id, class, subclass and protocol of the device, and those of the interface.
_Alias = tuple[str, ...]


@functools.cache
def modules() -> Path:
    """The directory of the running kernel's modules, if it is visible."""
    return Path("/lib/modules") / os.uname().release


@functools.lru_cache(maxsize=256)
def match(vendor_id: str, product_id: str, own: str, interfaces: tuple[str, ...], directory: Path) -> bool:
    """Whether a network driver supports one of the interfaces.

    :param own: class, subclass and protocol of the device, two hexadecimal digits each.
    :param interfaces: the same of each interface.
    :param directory: of the kernel's modules.
    """
    aliases = _aliases(directory)
    known = [*aliases.get(vendor_id, ()), *aliases.get("*", ())]
    found = [(product_id, *_pairs(own), *_pairs(interface)) for interface in interfaces]
    return any(_fits(alias, one) for one in found for alias in known)


def _fits(alias: _Alias, found: _Alias) -> bool:
    return all(wanted in ("*", has) for wanted, has in zip(alias, found, strict=True))


def _pairs(triple: str) -> Iterator[str]:
    return (triple[start : start + 2] for start in (0, 2, 4))


@functools.cache
def _aliases(directory: Path) -> Mapping[str, list[_Alias]]:
    """Vendor id -> the aliases of the network drivers; empty if no modules are visible."""
    found = collections.defaultdict(list)
    try:
        names = set(_network_modules((directory / "modules.dep").read_bytes()))
        table = (directory / "modules.alias").read_bytes()
    except OSError:
        return {}
    for match in _ALIAS.finditer(table):
        if _normal(match[9]) in names:
            vendor_id, *alias = (part.decode().lower() for part in match.groups()[:-1])
            found[vendor_id].append(tuple(alias))
    return found


def _network_modules(dependencies: bytes) -> Iterator[bytes]:
    """The names of the network drivers in ``modules.dep``: ``kernel/drivers/net/usb/r8152.ko: ...``."""
    for line in dependencies.splitlines():
        path = line.partition(b":")[0]
        if any(folder in path for folder in _FOLDERS):
            yield _normal(path.rpartition(b"/")[2].partition(b".ko")[0])


def _normal(name: bytes) -> bytes:
    """Names of modules have an underscore, those of their files perhaps a hyphen."""
    return name.replace(b"-", b"_")
