# SPDX-License-Identifier: Apache-2.0
"""Small files, such as those of sysfs and /proc."""

from __future__ import annotations

import os

_CHUNK = 1 << 16


def contents(path: str) -> bytes:
    """The content of a file. A pass reads hundreds of files, so this uses plain system calls.

    :raises OSError: the file does not exist, or no longer exists
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return b"".join(iter(lambda: os.read(descriptor, _CHUNK), b""))
    finally:
        os.close(descriptor)


def text(path: str) -> str:
    """The text of a file, stripped; raises as `contents`."""
    return contents(path).decode("ascii", "replace").strip()
