# SPDX-License-Identifier: Apache-2.0
"""The versions of the API, asked for by ``OpenStack-API-Version: usb-passthrough 1.0``."""

SERVICE_TYPE = "usb-passthrough"
VERSIONS = ["1.0"]
