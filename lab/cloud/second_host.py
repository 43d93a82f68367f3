# SPDX-License-Identifier: Apache-2.0
"""A second compute host for the running cloud, so that servers can move.

It has the same devices as the first, in the same ports.
"""

from __future__ import annotations

import contextlib
import subprocess

from keystoneauth1.exceptions import NotFound

from lab.cloud import compute, compute_host, databases
from lab.cloud.forks import Forks
from lab.cloud.process import Processes
from lab.cloud.rest import Rest
from lab.cloud.site import COMPUTE_HOST, ETC, LOG, PIDS, SECOND_HOST, Site
from lab.host import Host

LARGER = "usb-larger"
"""Id of a flavor with a little more memory, to resize to."""

_KEY = ETC / "ssh/id_ed25519"

# Nova moves the disk of a server that is off by scp. dropbear makes its host key when it needs it. bash reads
# .bashrc for ssh too, and what the machine's root has in there is no business of these hosts.
_LET_IN = f"""
install -D -m 600 {_KEY} /root/.ssh/id_ed25519
install -m 600 {_KEY}.pub /root/.ssh/authorized_keys
printf '%s\\n' 'StrictHostKeyChecking no' 'UserKnownHostsFile /dev/null' > /root/.ssh/config
rm -f /root/.bashrc
mkdir -p /etc/dropbear
"""


def start(site: Site) -> None:
    """Start it, and return when servers can be moved to it."""
    admin = Rest(site, "admin")
    compute.add_flavor(admin, LARGER, f"{compute.FLAVOR}.larger", 144)
    nova_manage = Forks("nova-manage", "nova.cmd.manage", Processes(PIDS, LOG))
    compute_host.start(SECOND_HOST)
    compute_host.wait_ready(SECOND_HOST)
    _let_in_each_other()
    compute_host.wait_nova_compute(site, SECOND_HOST)
    compute_host.map_to_cell(nova_manage)
    compute_host.wait_agent(admin, SECOND_HOST)


def _let_in_each_other() -> None:
    if not _KEY.exists():
        _KEY.parent.mkdir()
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", _KEY], check=True)
    for host in (Host(COMPUTE_HOST), Host(SECOND_HOST)):
        host.run(f"{_LET_IN} pgrep dropbear || dropbear -R -p {host.address}:22")


def declare_dead(site: Site) -> None:
    """Tell Nova that it has stopped, as whoever has fenced it does; Nova would notice later."""
    admin = Rest(site, "admin")
    for service in _nova_services(admin):
        admin.compute.put(f"/os-services/{service}", json={"forced_down": True})


def stop(site: Site) -> None:
    """Stop it, and let Nova and our service forget it; it has no server any more."""
    Host(SECOND_HOST).stop()
    admin = Rest(site, "admin")
    for service in _nova_services(admin):
        admin.compute.delete(f"/os-services/{service}")
    with contextlib.suppress(NotFound):
        admin.compute.delete(f"/flavors/{LARGER}")
    databases.forget_usb_host(site, SECOND_HOST)


def _nova_services(admin: Rest) -> list[str]:
    listed = admin.compute.get("/os-services", params={"host": SECOND_HOST}).json()["services"]
    return [service["id"] for service in listed]
