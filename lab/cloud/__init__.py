# SPDX-License-Identifier: Apache-2.0
"""A real OpenStack cloud on one machine, its compute host being a lab host with real USB."""

from lab.cloud.lifecycle import down, status, up

__all__ = ["down", "status", "up"]
