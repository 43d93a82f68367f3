# SPDX-License-Identifier: Apache-2.0
"""``usb-shim-relay``: carries one USB device to a server on another host. Needs only the standard library."""
