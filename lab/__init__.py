# SPDX-License-Identifier: Apache-2.0
"""A one-machine cloud with real USB, for the demo, the tests and the benchmarks."""
