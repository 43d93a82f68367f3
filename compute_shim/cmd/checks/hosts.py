# SPDX-License-Identifier: Apache-2.0
"""The agents of the compute hosts, by what they told the conductors."""

from __future__ import annotations

from oslo_upgradecheck.upgradecheck import Result

from compute_shim import liveness, rpc
from compute_shim.cmd.checks.results import Installation, found, without_database
from compute_shim.db import queries


def check_agents(installation: Installation) -> Result:
    """All agents are up, and speak as we do."""
    if installation.db is None:
        return without_database("Agents")
    known = queries.hosts(installation.db)
    if not known:
        return found(warnings=["No agents are registered. Start usb-shim-agent on the compute hosts."])
    up = liveness.Window.now(installation.conf)
    down = [host.host for host in known if host.last_seen not in up]
    foreign = [f"{host.host} ({host.version})" for host in known if host.version != rpc.CONDUCTOR_VERSION]
    complaints = []
    if down:
        complaints.append(f"Down: {', '.join(down)}. Start usb-shim-agent there.")
    if foreign:
        complaints.append(
            f"Running an RPC version other than {rpc.CONDUCTOR_VERSION}: {', '.join(foreign)}. Upgrade them."
        )
    return found(warnings=complaints)


def check_problems(installation: Installation) -> Result:
    """Nothing on the compute hosts waits for the operator."""
    if installation.db is None:
        return without_database("Hosts")
    return found(
        warnings=[
            f"{host.host}: {problem}"
            for host in queries.hosts(installation.db)
            for problem in (host.problems or "").splitlines()
        ]
    )
