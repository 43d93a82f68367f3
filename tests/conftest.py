# SPDX-License-Identifier: Apache-2.0
"""Tests run on native threads, as the programs do."""

from compute_shim.cmd import native_threads  # noqa: F401  before anything imports oslo.messaging
