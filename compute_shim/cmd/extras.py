# SPDX-License-Identifier: Apache-2.0
"""The error of a program whose extra is not installed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def needed_by(program: str, extra: str) -> Iterator[None]:
    """Import the libraries of an extra of the distribution inside this.

    :raises SystemExit: one is not there; the program ends with one line
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"{program}: {error}. Install it with: pip install openstack-usb-passthrough[{extra}]"
        ) from None
