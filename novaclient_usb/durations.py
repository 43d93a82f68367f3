# SPDX-License-Identifier: Apache-2.0
"""Parsing of lease durations."""

from __future__ import annotations

import re

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")


def seconds(text: str) -> int:
    """A time such as ``90m`` in seconds.

    :raises ValueError: the text is not a valid time; the message gives the format
    """
    found = _DURATION.fullmatch(text)
    if found is None or int(found[1]) == 0:
        raise ValueError(f"{text!r} is not a valid time: use a number and s, m, h or d, for example 2h")
    return int(found[1]) * _SECONDS[found[2]]
