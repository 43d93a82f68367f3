# SPDX-License-Identifier: Apache-2.0
"""Our agent in a compute host, killed and started again."""

from __future__ import annotations

from lab.host import Host

_PID = "/run/lab/usb-shim-agent.pid"
_COMMAND = "/run/lab/usb-shim-agent.command"


def kill(host: Host) -> None:
    """SIGKILL, without warning."""
    host.run(f"pid=$(cat {_PID}); tr '\\0' '\\n' < /proc/$pid/cmdline > {_COMMAND}; kill -KILL $pid")


def start(host: Host) -> None:
    """Start it again as the host's init did."""
    host.run(
        f"mapfile -t command < {_COMMAND};"
        ' setsid "${command[@]}" >> /var/log/usb-shim-agent.log 2>&1 < /dev/null &'
        f" echo $! > {_PID}"
    )
