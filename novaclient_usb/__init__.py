# SPDX-License-Identifier: Apache-2.0
"""Client of the USB passthrough service, and its commands for ``nova``."""

from novaclient_usb.reason_codes import ReasonCode

__all__ = ["ReasonCode"]
