# SPDX-License-Identifier: Apache-2.0
"""Pages of lists, as the OpenStack API guidelines have them: ``limit``, ``marker`` and ``<noun>_links``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib import parse

from compute_shim.api.call import Call


def limit(call: Call, query: Mapping[str, str]) -> int:
    """How many items a page has at most."""
    most = call.service.conf.api.max_limit
    return min(int(query.get("limit", most)), most)


def answer(
    call: Call, nouns: str, query: Mapping[str, str], views: Sequence[Any], marker: str | int | None
) -> dict[str, Any]:
    """The body of a page.

    :param nouns: what the list is of, for example ``devices``.
    :param views: the items of the page, in JSON.
    :param marker: of the last one, if there are more items; else None.
    """
    body: dict[str, Any] = {nouns: list(views)}
    if marker is not None:
        following = parse.urlencode({**query, "marker": marker})
        body[f"{nouns}_links"] = [{"rel": "next", "href": f"{call.request.path_url}?{following}"}]
    return body
