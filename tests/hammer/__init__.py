# SPDX-License-Identifier: Apache-2.0
"""Two projects and three servers want one kind of four sticks, and conductors are killed meanwhile."""
