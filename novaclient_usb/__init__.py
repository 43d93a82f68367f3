# SPDX-License-Identifier: Apache-2.0
"""Client of the USB passthrough service, and its commands for ``nova``."""
