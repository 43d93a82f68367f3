# SPDX-License-Identifier: Apache-2.0
"""Tests run on native threads, as the programs do, and on machines that are busy with much else."""

from compute_shim.cmd import native_threads  # noqa: F401  before anything imports oslo.messaging

# isort: split
import hypothesis

# No example takes too long: a machine may be slow, and nothing here asserts a time.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")
