# SPDX-License-Identifier: Apache-2.0
"""Pages of a list that the service sorts: only what is shown is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence

from django.http import QueryDict
from keystoneauth1 import exceptions

from usb_dashboard.devices import Device

#: The order of a list that nobody sorted: the service has an index of it.
DEFAULT_ORDER = "created_at"


@dataclasses.dataclass(frozen=True)
class Look:
    """What page of a list somebody looks at.

    :param sort_key: by what it is sorted, one of the API's.
    :param descending: whether the other way round.
    :param marker: the device that the page is next to, None for the first page.
    :param backwards: whether the page is the one before the marker.
    """

    sort_key: str = DEFAULT_ORDER
    descending: bool = False
    marker: str | None = None
    backwards: bool = False

    @classmethod
    def of(cls, query: QueryDict, markers: tuple[str, str], sort_keys: Collection[str]) -> Look:
        """What the address of a page asks for; what cannot be is left out.

        :param markers: the names of the parameters for the next page and for the one before.
        """
        following, previous = (query.get(name) for name in markers)
        key = query.get("sort_key", "")
        known = {"sort_key": key, "descending": query.get("sort_dir") == "desc"} if key in sort_keys else {}
        return cls(marker=previous or following or None, backwards=bool(previous), **known)

    @property
    def sorting(self) -> dict[str, str]:
        """The parameters of an address that keep the order; none for that of a list nobody sorted."""
        if self.sort_key == DEFAULT_ORDER:
            return {}
        return {"sort_key": self.sort_key, "sort_dir": "desc" if self.descending else "asc"}


@dataclasses.dataclass(frozen=True)
class Page:
    """Some devices of a list.

    :param before: whether there are devices before them.
    :param after: whether there are devices after them.
    """

    devices: list[Device]
    before: bool = False
    after: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether these are all."""
        return not self.before and not self.after


#: The devices after a marker, in an order, so many at most; the first ones without a marker.
Source = Callable[[str | None, bool, int], Sequence[Device]]


def turn(look: Look, size: int, source: Source) -> Page:
    """The page that somebody looks at; the first one if there is no such page any more.

    :param size: of a page, in devices.
    :param source: is asked for one device more, which tells whether there are more.
    """
    if look.marker is None:
        return _first(look, size, source)
    try:
        found = list(source(look.marker, look.descending != look.backwards, size + 1))
    except exceptions.BadRequest:
        # The device of the marker may be forgotten by now.
        return _first(look, size, source)
    has_more = len(found) > size
    if not found:
        return _first(look, size, source)
    if not look.backwards:
        return Page(found[:size], before=True, after=has_more)
    # A first page that is not full would be one that no other way leads to.
    return Page(found[:size][::-1], before=True, after=True) if has_more else _first(look, size, source)


def _first(look: Look, size: int, source: Source) -> Page:
    found = list(source(None, look.descending, size + 1))
    return Page(found[:size], after=len(found) > size)


def of_list(devices: Sequence[Device], descending: bool) -> Source:
    """A source of devices that are all known, in an order as the service made it.

    :param descending: whether they are in descending order.
    """

    def source(marker: str | None, wants_descending: bool, limit: int) -> Sequence[Device]:
        ordered = devices if wants_descending == descending else devices[::-1]
        begin = next((place for place, device in enumerate(ordered, 1) if device.id == marker), 0)
        return ordered[begin : begin + limit]

    return source
