# SPDX-License-Identifier: Apache-2.0
"""Horizon plugin: USB devices of compute hosts."""
