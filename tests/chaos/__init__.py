# SPDX-License-Identifier: Apache-2.0
"""A lab host in which everything goes wrong at random, and what has to be true after all that."""
