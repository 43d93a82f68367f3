# SPDX-License-Identifier: Apache-2.0
"""Limits of leases."""

from __future__ import annotations

from compute_shim import exception
from compute_shim.api.call import Call


def seconds(call: Call, kind: str | None, wanted: int | None) -> int | None:
    """Seconds for which a server gets a device, None if there is no end.

    :param wanted: None: the longest lease allowed.
    :raises compute_shim.exception.Invalid: the lease is longer than allowed
    """
    longest = call.service.conf.lease.longest
    most = longest.get(kind, longest.get("*"))
    if most is not None and wanted is not None and wanted > most:
        what = "a USB device" if kind is None else f"a USB device of kind {kind}"
        raise exception.Invalid(f"Invalid input: lease: {what} can be leased for at most {most} seconds.")
    return most if wanted is None else wanted
