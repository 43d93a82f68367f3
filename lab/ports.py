# SPDX-License-Identifier: Apache-2.0
"""TCP ports for the programs that the lab starts."""

import socket


def free_port() -> int:
    """Return a TCP port that is free on 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
