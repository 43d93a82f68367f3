# SPDX-License-Identifier: Apache-2.0
"""A stick of the second host in a server of the first one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keystoneauth1 import exceptions

from compute_shim.relay.credentials import Credentials
from lab.host import Host, command
from lab.host.usb import EVERYTHING
from lab.paths import ROOT
from lab.stack_agent import Agent
from tests.lab.hooks import install_hook
from tests.lab.world import World, until
from tests.pki import Authority

#: As `EVERYTHING`, and over the network.
RULES = EVERYTHING.replace("}", ', "network": true}')
#: The certificate, key and authority of a lab host that takes part.
PKI = "/run/pki"

_SERIAL, _STICK = "LABSTICK01", "stick1"
# The addresses of lab hosts (lab/host/host.py).
_LOSE = ("INPUT -s 10.9.0.0/24 ! -i lo -j DROP", "OUTPUT -d 10.9.0.0/24 ! -o lo -j DROP")
# As whom relays run (`nobody`).
_NOBODY = 65534


def start(agent: Agent, authority: Authority) -> None:
    """Let a host, which may still boot, take part in the network transport, and start its agent."""
    host = agent.host
    host.wait_ready()
    install_hook(host)
    host.run(["mkdir", "-p", PKI])
    install(host, authority.issue(host.name, host.name))
    options = (f"{option} = {PKI}/{option}.pem\n" for option in ("cert", "key", "ca"))
    agent.more = f"[network_usb]\nuser = nobody\n{''.join(options)}"
    agent.configure(RULES)
    agent.start()


def install(host: Host, own: Credentials) -> None:
    """Replace the files of a host that takes part."""
    for option, file in dataclasses.asdict(own).items():
        path = f"{PKI}/{option}.pem"
        replaced = f"umask 077 && cat > {path}.new && chown nobody {path}.new && mv {path}.new {path}"
        host.run(replaced, stdin=Path(file).read_text())


def restart(agent: Agent) -> None:
    """Restart an agent."""
    agent.stop()
    agent.start()


def relays(host: Host) -> list[int]:
    """The processes of the relays of a host."""
    found = host.run("pgrep -f '[c]ompute_shim.cmd.relay (device|server)'", check=False).stdout
    return [int(pid) for pid in found.split()]


class Carried:
    """The claim of server ``one`` on a stick.

    :ivar home: the server's host.
    :ivar away: the device's host.
    """

    def __init__(self, home: World, away: World) -> None:
        self.home = home
        self.away = away
        self.stick = away.device(_SERIAL)

    def request(self, server_id: str) -> None:
        """Ask for it, as a user does who has been told that the hosts are not ready yet."""
        self.away.wait_free(self.stick["id"])

        def is_accepted() -> bool:
            try:
                asked = self.home.usb.attachments.create(server_id, self.stick["id"], transport="network")
            except exceptions.Conflict:
                return False
            assert (asked["transport"], asked["over_network"]) == ("network", True)
            return True

        until(is_accepted, "it is refused")

    def give_back(self) -> None:
        """No server has it, and its host has its driver again."""
        if any(it.port is None for it in self.away.host.devices() if it.device.name == _STICK):
            self.away.host.plug(_STICK)
        device = self.home.admin.devices.get(self.stick["id"])
        if device["server_id"] is not None:
            self.home.admin.attachments.delete(device["server_id"], device["id"])
        self.wait_without_relays()
        port = self.away.device(_SERIAL)["port"]
        until(lambda: self.away.host_driver(port) == "usb-storage", "the host does not have its stick again")
        assert "USB Redir" not in self.home.monitor("one", "info usb")

    # Looking

    def relays(self) -> tuple[int, int]:
        """The processes of the relay of the device and of that of the server."""
        [of_device], [of_server] = relays(self.away.host), relays(self.home.host)
        return of_device, of_server

    def state(self) -> tuple[str, str | None]:
        """The state of the device, and its reason."""
        device = self.home.usb.devices.get(self.stick["id"])
        return device["state"], device["reason_code"]

    def wait_attached(self) -> None:
        """Until the service says so, and the guest is shown the stick."""
        self.away.wait_state(_SERIAL, "attached")
        until(lambda: self.home.superspeed_ports("one") == [1], "the guest does not see it")

    def wait_lost(self, *reasons: str) -> None:
        """Until the service says that it is waiting, for one of these reasons, and the guest sees nothing."""
        self.wait_waiting(*reasons)
        until(lambda: self.home.superspeed_ports("one") == [], "the guest sees what is not there")
        assert self.home.virsh("domstate", "one").strip() == "running"

    def wait_waiting(self, *reasons: str) -> None:
        """Until the service says that it is waiting, for one of these reasons."""
        self.away.wait_state(_SERIAL, "waiting", *reasons)

    def wait_without_relays(self) -> None:
        """Until no relay is left on either host."""
        until(lambda: not relays(self.away.host) and not relays(self.home.host), "relays are left")

    def assert_unprivileged(self) -> None:
        """Both relays run as another user, without any capability, and no relay looks into another one."""
        for host, pid in zip((self.away.host, self.home.host), self.relays(), strict=True):
            status = host.run(["cat", f"/proc/{pid}/status"]).stdout
            assert re.findall(r"^Uid:(.*)", status, re.MULTILINE) == [f"\t{_NOBODY}" * 4]
            assert re.findall(r"^Cap(?:Prm|Eff|Bnd|Amb):\t(\w+)", status, re.MULTILINE) == ["0" * 16] * 4
            assert host.run(["stat", "--format=%u", f"/proc/{pid}/mem"]).stdout.strip() == "0"


def kill(host: Host, pid: int, signal: str = "KILL") -> None:
    """Send a process a signal, and wait until it has ended."""
    host.run(f"kill -{signal} {pid}; {command.until(f'[ ! -e /proc/{pid} ]')}")


@contextmanager
def cut(host: Host) -> Iterator[None]:
    """The network between this host and the others loses everything without a word."""
    lose(host)
    try:
        yield
    finally:
        heal(host)


def lose(host: Host) -> None:
    """Cut the network between this host and the others."""
    host.run(" && ".join(f"iptables -I {rule}" for rule in _LOSE))


def heal(host: Host) -> None:
    """Take back `lose`."""
    host.run(" && ".join(f"iptables -D {rule}" for rule in _LOSE))


@contextmanager
def captured(host: Host, file: str) -> Iterator[None]:
    """All that passes between the hosts meanwhile is in a file of this host."""
    script = ROOT / "tests/lab/capture.py"
    started = f"/usr/bin/python3 {script} eth1 {file} > /dev/null 2>&1 & echo $!"
    pid = int(host.run(started).stdout)
    host.run(command.until(f"[ -e {file} ]"))
    try:
        yield
    finally:
        kill(host, pid, "TERM")
