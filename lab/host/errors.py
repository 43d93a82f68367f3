# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with a lab host."""


class HostError(Exception):
    """A lab host cannot do what was asked. The text says which host, why, and what to do."""
