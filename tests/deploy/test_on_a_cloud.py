# SPDX-License-Identifier: Apache-2.0
"""By the guide from bare machines to a stick in a server, on the Keystone and Nova of the demo.

The controller is a container. The compute hosts are virtual machines with systemd, AppArmor, libvirt,
nova-compute and USB devices, so that the agent runs there as its package has it. The tests are one life and
run in this order.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from lab.cloud import compute, compute_host, lifecycle, site
from lab.cloud.forks import Forks
from lab.cloud.process import Processes, wait_until
from lab.cloud.rest import Rest
from lab.cloud.site import COMPUTE_HOST, LOG, PIDS, SECOND_HOST, Site
from lab.guest import console
from lab.host import Host, usb
from lab.host.machine import System
from tests.deploy import blocks, cloud, guide
from tests.deploy.conftest import PACKAGES
from tests.deploy.deployer import Deployer, Target
from tests.deploy.guide import CONTROLLER
from tests.deploy.lab_machine import LabMachine, make_place_for_python, system
from tests.deploy.machine import Machine, mounted
from tests.deploy.reader import Reader
from tests.pki import Authority

_SERVER = "stranger"
_USER = "demo"
_STICK = usb.DEVICES["stick1"]
_GUEST_SECONDS = 600
# The agent starts on an emulated processor.
_AGENT_SECONDS = 240
_OF_COMPUTE_HOSTS = (
    "apparmor",
    "iproute2",
    "libvirt-daemon-system",
    "psmisc",
    "python3",
    "qemu-system-x86",
    "qemu-utils",
)
_NETWORK = Path(__file__).parents[2] / "doc/source/admin/network.rst"
_ID = ("--format=value", "--column=ID")
# As the guide has it for users.
_PATH = "/usr/lib/usb-shim-client/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def credentials(the_site: Site, user: str) -> dict[str, str]:
    """The environment of a user who has the packages."""
    keystone = the_site.url("keystone", "/v3")
    return {**cloud.credentials(keystone, user, the_site.passwords[user]), "PATH": _PATH}


def clear(the_site: Site) -> None:
    """Take our service out of Keystone, and the compute host, with its server, out of Nova."""
    admin, user = Rest(the_site, "admin"), Rest(the_site, _USER)
    for kind, name in (("services", "usb-shim"), ("users", "usb-shim")):
        [found] = admin.identity.get(f"/{kind}", params={"name": name}).json()[kind]
        admin.identity.delete(f"/{kind}/{found['id']}")
    user.compute.delete(f"/servers/{compute.server_id(user, 'demo')}")
    wait_until(
        lambda: not user.compute.get("/servers").json()["servers"],
        "the server of the demo is not deleted",
        _GUEST_SECONDS,
        Host(COMPUTE_HOST).running,
        site.share(COMPUTE_HOST) / "nova-compute.log",
    )
    Host(COMPUTE_HOST).stop()
    [nova_compute] = admin.compute.get("/os-services", params={"binary": "nova-compute"}).json()["services"]
    admin.compute.delete(f"/os-services/{nova_compute['id']}")


@pytest.fixture(scope="module")
def the_site() -> Iterator[Site]:
    """The cloud of the demo, without our service and without compute hosts."""
    try:
        assert lifecycle.up(more_servers=False) == 0
        Processes(PIDS, LOG).stop("usb-shim-api", "usb-shim-conductor")
        the_site = site.load()
        clear(the_site)
        yield the_site
    finally:
        lifecycle.down()


@pytest.fixture(scope="module")
def controller(base: Path, the_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """What the guide expects of a controller; it meets the cloud's services on this machine's loopback."""
    directory = tmp_path_factory.mktemp("controller")
    machine = Machine(CONTROLLER, directory, [base])
    try:
        machine.install("curl", "mariadb-server", "memcached", "python3-pymysql")
        yield machine
    finally:
        machine.kill()
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def debian(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """What the guide expects of a compute host; nova-compute comes from the lab."""
    directory = tmp_path_factory.mktemp("compute")
    prepared = Machine("prepared", directory, [base])
    try:
        prepared.install(*_OF_COMPUTE_HOSTS)
        make_place_for_python(prepared.root)
    finally:
        prepared.stop()
    with mounted(directory / "files", [prepared.changes, base]) as files:
        yield system(files)
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def compute_machine(the_site: Site, debian: System) -> Iterator[LabMachine]:
    """A compute host that Nova knows, on which the server is."""
    with started(SECOND_HOST, the_site, debian) as machine:
        yield machine


@pytest.fixture(scope="module")
def other_machine(the_site: Site, debian: System, compute_machine: LabMachine) -> Iterator[LabMachine]:
    """Another one."""
    with started(COMPUTE_HOST, the_site, debian) as machine:
        yield machine


@contextlib.contextmanager
def started(name: str, the_site: Site, debian: System) -> Iterator[LabMachine]:
    machine = LabMachine(name, debian)
    try:
        machine.run("sh", "-c", f"echo {site.GATEWAY} controller >>/etc/hosts")
        compute_host.wait_nova_compute(the_site, name)
        compute_host.map_to_cell(Forks("nova-manage", "nova.cmd.manage", Processes(PIDS, LOG)))
        yield machine
    finally:
        machine.stop()


@pytest.fixture(scope="module")
def reader(the_site: Site, controller: Machine, compute_machine: LabMachine) -> Reader:
    for package in PACKAGES.glob("*.deb"):
        shutil.copy(package, controller.root / "root")
        shutil.copy(package, site.share(SECOND_HOST))
    compute_machine.run("sh", "-c", f"cp {site.share(SECOND_HOST)}/*.deb /root")
    own = {
        "http://controller:5000/v3": the_site.url("keystone", "/v3"),
        f"{cloud.RABBIT_PASSWORD}@controller": (
            f"{the_site.passwords['rabbitmq']}@controller:{the_site.ports['rabbitmq']}"
        ),
        guide.COMPUTE: SECOND_HOST,
        '"vendor_id": "0781", "product_id": "5567"': '"vendor_id": "46f4", "product_id": "0001"',
    }
    return Reader(controller, compute_machine, credentials(the_site, "admin"), own)


@pytest.fixture(scope="module")
def server_id(the_site: Site, compute_machine: LabMachine) -> str:
    """A server of an ordinary user, whose guest has booted."""
    user = Rest(the_site, _USER)
    compute.create_server(user, _SERVER)
    server_id = compute.server_id(user, _SERVER)
    wait_for_guest(server_id, lambda said: "READY" in said)
    return server_id


def wait_for_guest(server_id: str, true: Callable[[str], bool], host: str = SECOND_HOST) -> None:
    """Until what the guest says, since it is on that host, is so."""
    wait_until(
        lambda: true(compute_host.console(server_id, host)),
        "the guest does not say so",
        _GUEST_SECONDS,
        Host(host).running,
        site.share(host) / "nova-compute.log",
        every=1,
    )


def sees_stick(said: str) -> bool:
    return any(_STICK.serial in device for device in console.usb_devices(said))


@pytest.fixture(scope="module")
def openstack(the_site: Site, controller: Machine) -> Callable[..., str]:
    """Runs ``openstack`` on the controller as an ordinary user; what it says."""

    def run(*words: str) -> str:
        return controller.run("openstack", *words, environment=credentials(the_site, _USER))

    return run


def attach(controller: Machine, server_id: str, openstack: Callable[..., str]) -> None:
    """What an ordinary user does as soon as the compute host is up; the guest must see the stick."""
    until = f"until openstack usb host list --format=value | grep '^{SECOND_HOST} up'; do sleep 5; done"
    environment = credentials(site.load(), "admin")
    controller.run("timeout", str(_AGENT_SECONDS), "sh", "-c", until, environment=environment)
    assert _STICK.serial in openstack("usb", "device", "list", "--server", _SERVER)
    openstack("server", "add", "usb", "device", "--wait", _SERVER, _STICK.serial)
    wait_for_guest(server_id, sees_stick)
    assert "attached" in openstack("server", "usb", "device", "list", _SERVER)


def wait_well(controller: Machine, *hosts: LabMachine) -> None:
    """Until the upgrade check finds nothing wrong; the journals of the agents explain what is."""
    until = "until usb-shim-status upgrade check >/tmp/checked; do sleep 5; done"
    controller.try_run("timeout", "120", "sh", "-c", until)
    checked = controller.run("cat", "/tmp/checked")
    assert set(re.findall(r"Result: (\w+)", checked)) == {"Success"}, "\n".join((checked, *journals(hosts)))


def journals(hosts: Iterable[LabMachine]) -> Iterator[str]:
    """What the agents have said lately."""
    for host in hosts:
        yield host.run("journalctl", "--unit=usb-shim-agent", "--lines=50")


def test_by_the_text_of_the_guide(reader: Reader) -> None:
    for step in (guide.CONTROLLER_PACKAGES, guide.USER_PACKAGES, guide.COMPUTE_PACKAGES):
        reader.follow(step)
    reader.continue_with_packages()


def test_a_user_attaches_a_stick(controller: Machine, server_id: str, openstack: Callable[..., str]) -> None:
    attach(controller, server_id, openstack)


def test_nothing_is_wrong(controller: Machine, compute_machine: LabMachine) -> None:
    """A server was started on the host since libvirt's daemon was reloaded, so that it knows the hook."""
    wait_well(controller, compute_machine)


def test_and_gives_it_back(server_id: str, openstack: Callable[..., str]) -> None:
    openstack("server", "remove", "usb", "device", "--wait", _SERVER, _STICK.serial)
    wait_for_guest(server_id, lambda said: not sees_stick(said))


def test_without_the_agent_the_host_has_its_sticks_again(compute_machine: LabMachine) -> None:
    drivers = "readlink -f /sys/bus/usb/devices/*:*/driver"
    assert "usb-storage" not in compute_machine.run("sh", "-c", drivers)
    compute_machine.run("apt-get", "purge", "--yes", "usb-shim-agent")
    assert "usb-storage" in compute_machine.run("sh", "-c", drivers)


def test_removed_packages_leave_nothing_running(controller: Machine, compute_machine: LabMachine) -> None:
    controller.run("apt-get", "purge", "--yes", "usb-shim-api", "usb-shim-conductor")
    for machine in (controller, compute_machine):
        units = machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "usb-shim-*")
        assert " running " not in units


def test_the_guide_removes_the_rest(reader: Reader) -> None:
    reader.follow(guide.REMOVAL)


def test_by_the_role(
    the_site: Site,
    controller: Machine,
    compute_machine: LabMachine,
    other_machine: LabMachine,
    server_id: str,
    openstack: Callable[..., str],
    tmp_path: Path,
) -> None:
    password = the_site.passwords["rabbitmq"]
    variables = {
        "usb_shim_packages_directory": str(PACKAGES),
        "usb_shim_transport_url": f"rabbit://openstack:{password}@controller:{the_site.ports['rabbitmq']}",
        "usb_shim_keystone_url": the_site.url("keystone", "/v3"),
        "usb_shim_password": "service-S3cret",
        "usb_shim_memcached_servers": "controller:11211",
        "usb_shim_database_host": "controller",
        "usb_shim_database_password": "database-S3cret",
        "usb_shim_create_database": True,
        "usb_shim_database_admin_socket": "/run/mysqld/mysqld.sock",
        "usb_shim_create_identity": True,
        "usb_shim_endpoint_url": "http://controller:9815",
        "usb_shim_openstack_environment": credentials(the_site, "admin"),
        "usb_shim_device_spec": [
            {"vendor_id": "46f4", "product_id": "0001", "shared": True, "network": True}
        ],
    }
    groups: dict[str, list[Target]] = {
        "usb_shim_controllers": [controller],
        "usb_shim_compute_hosts": [compute_machine, other_machine],
    }
    recap = Deployer(tmp_path, variables, groups).run()
    failed = {host: counts["failed"] for host, counts in recap.items()}
    assert failed == {CONTROLLER: 0, COMPUTE_HOST: 0, SECOND_HOST: 0}
    attach(controller, server_id, openstack)
    openstack("server", "remove", "usb", "device", "--wait", _SERVER, _STICK.serial)


def test_by_the_page_the_hosts_take_part_in_the_network(
    controller: Machine, compute_machine: LabMachine, other_machine: LabMachine, tmp_path: Path
) -> None:
    # The packages do all of the first block but its first line, and the role nothing that they recommend.
    first, certificate, section, unit, *_ = (block.text for block in blocks.read(_NETWORK))
    authority = Authority(tmp_path, "authority")
    for machine in (compute_machine, other_machine):
        machine.run("bash", "-e", "-c", first.splitlines()[0])
        for option, file in dataclasses.asdict(authority.issue(machine.name, machine.name, days=365)).items():
            machine.run("tee", f"/root/{option}.pem", text=Path(file).read_text())
        machine.run("bash", "-e", "-c", f"cd /root\n{certificate}")
        machine.run("tee", "--append", "/etc/usb-shim/usb-shim.conf", text=section)
        packaged = unit.replace("/opt/usb-shim/etc/systemd", "/usr/share/usb-shim/systemd")
        machine.run("bash", "-e", "-c", packaged)
        # That it was reloaded cannot be seen: the agent warns until the daemon, or a server, is started.
        machine.run("systemctl", "restart", "libvirtd")
    wait_well(controller, compute_machine, other_machine)


def test_a_stick_of_another_host(
    the_site: Site,
    controller: Machine,
    compute_machine: LabMachine,
    other_machine: LabMachine,
    server_id: str,
) -> None:
    listing = ("usb", "device", "list", "--host", COMPUTE_HOST, "--serial", _STICK.serial)
    environment = credentials(the_site, "admin")
    stick = controller.run("openstack", *listing, *_ID, environment=environment).strip()
    added = ("server", "add", "usb", "device", "--wait", "--transport", "network", _SERVER, stick)
    done = controller.try_run("openstack", *added, environment=credentials(the_site, _USER))
    assert done.returncode == 0, "\n".join((done.stdout, *journals((compute_machine, other_machine))))
    wait_for_guest(server_id, sees_stick)
    before = [relays(machine) for machine in (compute_machine, other_machine)]
    assert [list(found.values()) for found in before] == [["usb-shim-relay"]] * 2
    for machine in (compute_machine, other_machine):
        machine.run("systemctl", "restart", "usb-shim-agent")
    wait_well(controller, compute_machine, other_machine)
    assert [relays(machine) for machine in (compute_machine, other_machine)] == before
    assert not any("Cannot write" in said for said in journals((compute_machine, other_machine)))
    assert sees_stick(compute_host.console(server_id, SECOND_HOST))


def test_it_migrates_to_the_host_of_its_stick(
    the_site: Site, compute_machine: LabMachine, other_machine: LabMachine, server_id: str
) -> None:
    compute_api = Rest(the_site, "admin").compute
    migrate = {"os-migrateLive": {"host": COMPUTE_HOST, "block_migration": "auto"}}
    compute_api.post(f"/servers/{server_id}/action", json=migrate)
    wait_until(
        lambda: (
            compute_api.get(f"/servers/{server_id}").json()["server"]["OS-EXT-SRV-ATTR:host"] == COMPUTE_HOST
        ),
        "the server is not on the other host",
        _GUEST_SECONDS,
        Host(COMPUTE_HOST).running,
        site.share(SECOND_HOST) / "nova-compute.log",
        every=1,
    )
    wait_for_guest(server_id, sees_stick, COMPUTE_HOST)
    until = "while pgrep --full '[c]ompute_shim.cmd.relay (device|server)'; do sleep 1; done"
    for machine in (compute_machine, other_machine):
        machine.run("timeout", str(_AGENT_SECONDS), "sh", "-c", until)


def relays(machine: LabMachine) -> dict[str, str]:
    """Process id -> user of each relay."""
    said = machine.run(
        "sh", "-c", "ps -eo pid=,user:32=,args= | grep -E '[c]ompute_shim.cmd.relay (device|server)'"
    )
    return {pid: user for pid, user, *_ in (line.split() for line in said.splitlines())}
