# SPDX-License-Identifier: Apache-2.0
"""Checks of the files of ``[network_usb]``: what a relay would refuse is told before it does."""

from __future__ import annotations

import ssl
import time
from typing import Any

from oslo_config import cfg

from compute_shim.agent import metrics
from compute_shim.conf import network_usb
from compute_shim.relay import credentials

#: Days before the end of a certificate from which on it is a problem.
_WARN_DAYS = 30
_DAY = 86400


def problems(conf: cfg.ConfigOpts) -> list[str]:
    """What the operator of this host has to fix, one sentence each; also updates the metric of the expiry."""
    if not network_usb.is_set(conf):
        return []
    group = conf.network_usb
    try:
        credentials.Credentials(group.cert, group.key, group.ca).client_context()
        # The standard library has no other way to read a certificate (ssl: _test_decode_cert).
        decoded: dict[str, Any] = ssl._ssl._test_decode_cert(group.cert)  # type: ignore[attr-defined]
        days = (ssl.cert_time_to_seconds(decoded["notAfter"]) - time.time()) / _DAY
    except (credentials.UnusableFile, OSError, ValueError, KeyError) as error:
        metrics.certificate_days.set(0)
        return [f"[network_usb]: {error}. No device can be used over the network. Correct the files."]
    metrics.certificate_days.set(days)
    found = []
    if days < _WARN_DAYS:
        # The date and not the days left: each text is an event of the host.
        state = f"{'has expired' if days <= 0 else 'expires'} on {decoded['notAfter']}"
        found.append(f"The certificate {group.cert} of [network_usb] {state}. Replace it.")
    try:
        credentials.refuse_other(decoded, conf.host)
    except credentials.WrongPeer as wrong:
        found.append(
            f"The certificate {group.cert} of [network_usb] is not for this host: {wrong}. Other hosts refuse"
            " it."
        )
    return found
