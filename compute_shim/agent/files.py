# SPDX-License-Identifier: Apache-2.0
"""Small files, such as those of sysfs and /proc."""

from __future__ import annotations

import os

_CHUNK = 1 << 16


def contents(path: str) -> bytes:
    """A whole file. A pass opens hundreds, so none of the conveniences.

    :raises OSError: there is none, or none any more
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return b"".join(iter(lambda: os.read(descriptor, _CHUNK), b""))
    finally:
        os.close(descriptor)


def text(path: str) -> str:
    """The text of a whole file, without blanks around it; raises as `contents`."""
    return contents(path).decode("ascii", "replace").strip()
