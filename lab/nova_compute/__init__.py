# SPDX-License-Identifier: Apache-2.0
"""How nova-compute starts in a lab host. Light to import: it is imported there."""
