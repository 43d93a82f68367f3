# SPDX-License-Identifier: Apache-2.0
"""How people write for how long they want a device."""

from __future__ import annotations

import re

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")


def seconds(text: str) -> int:
    """A time such as ``90m`` in seconds.

    :raises ValueError: that is none; the message says how it is written
    """
    found = _DURATION.fullmatch(text)
    if found is None or int(found[1]) == 0:
        raise ValueError(f"{text!r} is no time: write a number and s, m, h or d, for example 2h")
    return int(found[1]) * _SECONDS[found[2]]
