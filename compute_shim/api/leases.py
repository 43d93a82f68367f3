# SPDX-License-Identifier: Apache-2.0
"""For how long a device may be had."""

from __future__ import annotations

from compute_shim import exception
from compute_shim.api.call import Call


def seconds(call: Call, kind: str | None, wanted: int | None) -> int | None:
    """Seconds for which a server gets a device, None if there is no end.

    :param wanted: None: as long as it may.
    :raises compute_shim.exception.Invalid: that is longer than is allowed
    """
    longest = call.service.conf.lease.longest
    most = longest.get(kind or "", longest.get("*"))
    if most is not None and wanted is not None and wanted > most:
        what = "a USB device" if kind is None else f"a USB device of the kind {kind}"
        raise exception.Invalid(f"Invalid input: lease: {what} may be had for at most {most} seconds.")
    return most if wanted is None else wanted
