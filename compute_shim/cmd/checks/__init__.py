# SPDX-License-Identifier: Apache-2.0
"""What ``usb-shim-status upgrade check`` asks: one module for each peer."""
