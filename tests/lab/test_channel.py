# SPDX-License-Identifier: Apache-2.0
"""A stick of one host in a guest on another one: two relays, TLS, QEMU's redirdev.

The relays are started by hand, without the service. They run with Debian's Python: they need no library.
"""

from __future__ import annotations

import dataclasses
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from compute_shim.relay.credentials import Credentials
from lab import guest
from lab.cloud.site import VENV
from lab.guest import console
from lab.host import Host, command, domains
from lab.paths import ROOT
from tests.lab.world import until
from tests.pki import Authority

# Beside those of the other tests.
DEVICE_HOST, SERVER_HOST = "channelhost1", "channelhost2"
DEVICE = "b4e6f1d2-3a5c-4d7e-8f90-123456789abc"
SOCKET = "/run/usb-shim/one.sock"
STICK = "46f4:0001 LABSTICK01 QEMU USB HARDDRIVE"
HOSTILE_CONNECTIONS = 20
# As the program limits itself, and what it is without data.
_MOST_KIBIBYTES = (128 + 32) << 10
_DRIVE = """
import sys
from compute_shim.hypervisor.drivers import driver
driver = driver("qemu:///system")
{call}
domain = driver.domain(sys.argv[1])
print(domain.running, *domain.channels)
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority of both hosts."""
    return Authority(tmp_path_factory.mktemp("pki"), "authority")


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    """The device's host and the server's host, with the relay's program in each."""
    device, server = Host(DEVICE_HOST), Host(SERVER_HOST)
    for host in (device, server):
        host.stop()
    try:
        device.start(memory_mib=1536, peer=SERVER_HOST)
        server.start(memory_mib=1536, peer=DEVICE_HOST)
        for host in (device, server):
            host.wait_ready()
            host.run(
                f"mkdir /run/relay && cp -r {shlex.quote(str(ROOT))}/compute_shim /run/relay"
                " && chmod -R a+rX /run/relay"
            )
        yield device, server
    finally:
        device.stop()
        server.stop()


@pytest.fixture(scope="module")
def server(hosts: tuple[Host, Host]) -> domains.Server:
    """A server with a guest that lists its USB devices."""
    server = domains.Server("one")
    domains.define(hosts[1], domains.guest(server, guest.build()))
    domains.virsh(hosts[1], "start", "one")
    # A migration begins the log anew.
    log = ["cat", server.console_log]
    until(lambda: "lab-guest: READY" in hosts[1].run(log, check=False).stdout, "the guest does not start")
    return server


@dataclasses.dataclass(frozen=True)
class Relay:
    """A relay that was started.

    :ivar port: where it listens, if it is that of the device's host.
    """

    host: Host
    name: str
    pid: int
    port: int

    def state(self) -> dict[str, str]:
        """The lines of its state file."""
        lines = self.host.run(["cat", f"/run/usb-shim/{self.name}.state"], check=False).stdout.splitlines()
        return {name: value for name, _, value in (line.partition(" ") for line in lines)}

    def wait(self, state: str, reason: str = "") -> None:
        """Wait until it is in a state for a reason."""

        def reached() -> bool:
            now = self.state()
            return (now.get("state"), now.get("reason")) == (state, reason)

        try:
            until(reached, f"{self.name} is not {state} ({reason})")
        except AssertionError as error:
            error.add_note(f"{self.state()}\n{self.log()}")
            raise

    def log(self) -> str:
        """What it has logged."""
        return self.host.run(["cat", f"/run/usb-shim/{self.name}.log"]).stdout

    def signal(self, signal: str) -> None:
        """Send it a signal, and wait until it has ended."""
        self.host.run(f"kill -{signal} {self.pid}; {command.until(f'[ ! -e /proc/{self.pid} ]')}")


class World:
    """Both hosts and the server."""

    def __init__(self, hosts: tuple[Host, Host], server: domains.Server, authority: Authority) -> None:
        self.device_host, self.server_host = hosts
        self._server = server
        self._certificates = {
            DEVICE_HOST: authority.issue(DEVICE_HOST, DEVICE_HOST),
            SERVER_HOST: authority.issue(SERVER_HOST, SERVER_HOST),
        }
        self._started: list[Relay] = []

    # Relays

    def device_relay(self, peer: str = SERVER_HOST, generation: int = 4) -> Relay:
        """Start the relay of LABSTICK01, beside which there are two more of the model."""
        found = (
            "d=$(dirname $(grep -lx LABSTICK01 /sys/bus/usb/devices/*/serial)) &&"
            " printf /dev/bus/usb/%03d/%03d $(cat $d/busnum $d/devnum)"
        )
        node = self.device_host.run(found).stdout
        options = (f"--peer={peer}", f"--generation={generation}")
        return self._start(self.device_host, "device", node, self._certificates[DEVICE_HOST], *options)

    def server_relay(self, far: Relay, own: Credentials | None = None, generation: int = 4) -> Relay:
        """Start the relay that QEMU connects to."""
        own = own or self._certificates[self.server_host.name]
        claim = (f"--peer={DEVICE_HOST}", f"--generation={generation}")
        options = (f"--connect={DEVICE_HOST}:{far.port}", *claim)
        return self._start(self.server_host, "server", SOCKET, own, *options)

    def _start(self, host: Host, mode: str, path: str, own: Credentials, *options: str) -> Relay:
        files = []
        for option, file in dataclasses.asdict(own).items():
            host.run(f"mkdir -p /run/pki && cat > /run/pki/{option}.pem", stdin=Path(file).read_text())
            files.append(f"--{option}=/run/pki/{option}.pem")
        script = str(ROOT / "tests/lab/relay_start.py")
        claim = f"--claim={DEVICE}"
        started = host.run(["/usr/bin/python3", script, mode, mode, path, claim, *options, *files])
        pid, port = started.stdout.split()
        relay = Relay(host, mode, int(pid), int(port))
        self._started.append(relay)
        until(lambda: relay.state().get("pid") == pid, "the relay does not start")
        return relay

    def restore(self) -> None:
        """Without relays and channels, with the stick plugged in."""
        self.detach()
        for relay in self._started:
            relay.host.run(f"kill {relay.pid} 2> /dev/null; {command.until(f'[ ! -e /proc/{relay.pid} ]')}")
        if any(it.port is None for it in self.device_host.devices() if it.device.name == "stick1"):
            self.device_host.plug("stick1")

    # The server

    def attach(self) -> None:
        """Connect the server to its relay."""
        assert self._drive(f"driver.attach_channel(sys.argv[1], {DEVICE!r}, {SOCKET!r})") == ["True", DEVICE]

    def detach(self) -> None:
        """Take the channel out."""
        assert self._drive(f"driver.detach(sys.argv[1], {DEVICE!r}, live=True, config=True)") == ["True"]

    def _drive(self, call: str) -> list[str]:
        """Call the driver on the server's host; whether the server runs, and its channels."""
        python = ["env", f"PYTHONPATH={ROOT}", str(VENV / "bin/python"), "-c", _DRIVE.format(call=call)]
        return self.server_host.run([*python, self._server.uuid], timeout=600).stdout.split()

    def migrate(self, target: Host) -> None:
        """What Nova does in a live migration."""
        domains.virsh(
            self.server_host,
            *("migrate", "--live", "--p2p", "--persistent", "--undefinesource", "one"),
            f"qemu+tcp://{target.name}/system",
        )
        self.server_host = target

    def console(self) -> str:
        """What the guest has said."""
        return self.server_host.run(["cat", self._server.console_log]).stdout

    def wait_guest(self, *devices: str) -> None:
        """Wait until the guest has these devices, and no others."""
        until(
            lambda: console.usb_devices(self.console()) == list(devices), f"the guest does not have {devices}"
        )

    # The device

    def host_driver(self, serial: str) -> str:
        """The driver of a stick on the device's host."""
        found = (
            f"basename $(readlink $(dirname $(grep -lx {serial} /sys/bus/usb/devices/*/serial))/*:1.0/driver)"
        )
        return self.device_host.run(found, check=False).stdout.strip()


@pytest.fixture
def world(hosts: tuple[Host, Host], server: domains.Server, authority: Authority) -> Iterator[World]:
    """A guest without USB devices, before each test and again after it."""
    world = World(hosts, server, authority)
    world.wait_guest()
    yield world
    world.restore()
    world.wait_guest()
    until(lambda: world.host_driver("LABSTICK01") == "usb-storage", "the host does not have its stick again")


def process_status(relay: Relay) -> dict[str, str]:
    """What Linux shows of a relay's process (proc(5), /proc/pid/status)."""
    lines = relay.host.run(["cat", f"/proc/{relay.pid}/status"]).stdout.splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_the_guest_reads_the_stick_of_the_other_host(world: World) -> None:
    far = world.device_relay()
    near = world.server_relay(far)
    world.attach()
    world.wait_guest(STICK)
    until(lambda: console.begins(world.console(), "LABSTICK01") == "stick1", "the guest cannot read it")
    far.wait("connected")
    near.wait("connected")
    assert world.host_driver("LABSTICK01") == "usbfs"
    assert world.host_driver("LABSTICK02") == "usb-storage"
    for relay in (far, near):
        status = process_status(relay)
        assert status["Uid"].split() == ["65534"] * 4
        assert (int(status["CapEff"], 16), int(status["CapBnd"], 16)) == (0, 0)
    world.detach()
    world.wait_guest()
    far.wait("listening")
    near.wait("listening")
    far.signal("TERM")
    assert far.state()["state"] == "ended"
    until(lambda: world.host_driver("LABSTICK01") == "usb-storage", "the host does not have its stick again")


def test_pulled_out_and_plugged_in_again(world: World) -> None:
    far = world.device_relay()
    near = world.server_relay(far)
    world.attach()
    world.wait_guest(STICK)
    world.device_host.unplug("stick1")
    world.wait_guest()
    far.wait("ended", "the device was unplugged")
    near.wait("listening")
    near.signal("TERM")
    world.device_host.plug("stick1")
    far = world.device_relay()
    near = world.server_relay(far)
    world.detach()
    world.attach()
    world.wait_guest(STICK)
    near.wait("connected")


@pytest.mark.parametrize("killed", ["device", "server"])
def test_a_relay_is_killed(world: World, killed: str) -> None:
    """The guest loses the stick and runs on; with new relays it has it again."""
    relays = {}
    relays["device"] = world.device_relay()
    relays["server"] = world.server_relay(relays["device"])
    world.attach()
    world.wait_guest(STICK)
    relays.pop(killed).signal("KILL")
    world.wait_guest()
    [other] = relays.values()
    other.wait("listening")
    other.signal("TERM")
    far = world.device_relay()
    world.server_relay(far)
    world.detach()
    world.attach()
    world.wait_guest(STICK)


def test_a_wrong_certificate_is_refused_and_the_guest_runs_on(
    world: World, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger").issue(SERVER_HOST, SERVER_HOST, trusts=authority)
    far = world.device_relay()
    near = world.server_relay(far, stranger)
    world.attach()
    near.wait("connecting", "it closed the connection before it greeted; its log has the reason")
    until(lambda: "unable to get local issuer certificate" in far.log(), far.log())
    assert far.state()["state"] == "listening"
    assert world.host_driver("LABSTICK01") == "usbfs"
    assert console.usb_devices(world.console()) == []
    near.signal("TERM")
    world.server_relay(far)
    world.detach()
    world.attach()
    world.wait_guest(STICK)


def test_the_network_is_cut_silently(world: World) -> None:
    """Both relays notice it, and the guest runs on without the stick."""
    far = world.device_relay()
    near = world.server_relay(far)
    world.attach()
    world.wait_guest(STICK)
    cut = "iptables -I INPUT -i eth1 -j DROP && iptables -I OUTPUT -o eth1 -j DROP"
    world.device_host.run(cut)
    try:
        world.wait_guest()
        far.wait("listening")
        near.wait("listening")
    finally:
        world.device_host.run(cut.replace("-I", "-D").replace(" && ", "; "))
    world.detach()
    world.attach()
    world.wait_guest(STICK)


def test_it_follows_the_server_through_a_live_migration(world: World) -> None:
    """QEMU connects by itself on the new host, to a relay of the next generation of the claim."""
    far = world.device_relay()
    near = world.server_relay(far)
    world.attach()
    world.wait_guest(STICK)
    origin = world.server_host
    world.migrate(world.device_host)
    try:
        near.wait("listening")
        far.signal("TERM")
        near.signal("TERM")
        far = world.device_relay(peer=DEVICE_HOST, generation=5)
        near = world.server_relay(far, generation=5)
        near.wait("connected")
        world.wait_guest(STICK)
        until(lambda: console.begins(world.console(), "LABSTICK01") == "stick1", "the guest cannot read it")
        world.detach()
    finally:
        world.migrate(origin)


def test_a_hostile_server_s_host_breaks_nothing(world: World) -> None:
    """It has the right certificate and the claim, and sends almost usbredir; then it is a good one."""
    far = world.device_relay()
    # Its files.
    world.server_relay(far).signal("TERM")
    fuzz = [
        "/usr/bin/python3",
        str(ROOT / "tests/lab/relay_fuzz.py"),
        DEVICE_HOST,
        str(far.port),
        DEVICE,
        "4",
    ]
    done = world.server_host.run([*fuzz, "1", str(HOSTILE_CONNECTIONS)], timeout=1200)
    assert int(done.stdout.split()[0]) == HOSTILE_CONNECTIONS
    far.wait("listening")
    status = process_status(far)
    assert int(status["VmHWM"].split()[0]) < _MOST_KIBIBYTES
    world.server_relay(far)
    world.attach()
    world.wait_guest(STICK)


def test_a_channel_without_a_relay_is_refused(world: World) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        world.attach()
    said = refused.value.stderr.splitlines()[-1]
    assert "HypervisorError: " in said and "Failed to connect to" in said
    assert SOCKET not in said
