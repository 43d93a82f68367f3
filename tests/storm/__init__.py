# SPDX-License-Identifier: Apache-2.0
"""Many clients at once while APIs and conductors are killed, and what has to be true of their claims."""
