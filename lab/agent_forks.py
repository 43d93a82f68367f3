# SPDX-License-Identifier: Apache-2.0
"""Agents in a lab host, as forks of one process that has imported the agent, and what it imports later.

In a lab host those imports take a quarter of a minute, and tests start the agent often.

    python -m lab.agent_forks

reads the name of a configuration file from one named pipe, starts an agent with it, and writes the agent's
process id to the other.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

ASKED = Path("/run/lab/agent-asked")
STARTED = Path("/run/lab/agent-started")
LOG = Path("/var/log/usb-shim-agent.log")


def main() -> None:
    """Start an agent whenever one is asked for."""
    from compute_shim.cmd import agent  # before anything imports oslo.messaging

    # isort: split
    import difflib  # noqa: F401
    import encodings.idna  # noqa: F401

    import kombu.transport.pyamqp  # noqa: F401
    import oslo_messaging
    from oslo_config import cfg

    from compute_shim.hypervisor.libvirt import lxc, qemu  # noqa: F401

    # This finds and imports the message bus's driver; nothing is connected.
    oslo_messaging.get_rpc_transport(cfg.ConfigOpts(), "rabbit://")
    os.mkfifo(STARTED)
    os.mkfifo(ASKED)
    # Nobody waits for what has ended.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        configuration = ASKED.read_text().strip()
        child = os.fork()
        if child == 0:
            _become_agent(configuration)
            agent.main()
        STARTED.write_text(str(child))


def _become_agent(configuration: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    log = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for descriptor, file in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
        os.dup2(file, descriptor)
    sys.argv = ["usb-shim-agent", "--config-file", configuration]


if __name__ == "__main__":
    main()
