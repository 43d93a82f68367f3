# SPDX-License-Identifier: Apache-2.0
"""By the guide from two bare machines to a stick in a server, on the Keystone and Nova of the demo.

The controller is a container. The compute host is a virtual machine with systemd, libvirt, nova-compute and
USB devices, so that the agent runs there as its package has it. The tests are one life and run in this order.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.cloud import compute, compute_host, lifecycle, site
from lab.cloud.forks import Forks
from lab.cloud.process import Processes, wait_until
from lab.cloud.rest import Rest
from lab.cloud.site import COMPUTE_HOST, LOG, PIDS, SECOND_HOST, Site
from lab.guest import console
from lab.host import Host, usb
from tests.deploy import cloud, guide
from tests.deploy.conftest import PACKAGES
from tests.deploy.guide import CONTROLLER
from tests.deploy.lab_machine import LabMachine, make_place_for_python, system
from tests.deploy.machine import Machine, mounted
from tests.deploy.reader import Reader

_SERVER = "stranger"
_USER = "demo"
_STICK = usb.DEVICES["stick1"]
_GUEST_SECONDS = 600
# The agent starts on an emulated processor.
_AGENT_SECONDS = 240
# As the guide has it for users.
_PATH = "/usr/lib/usb-shim-client/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def credentials(the_site: Site, user: str) -> dict[str, str]:
    """The environment of a user who has the packages."""
    keystone = the_site.url("keystone", "/v3")
    return {**cloud.credentials(keystone, user, the_site.passwords[user]), "PATH": _PATH}


def remove_ours(admin: Rest) -> None:
    """Take our service out of Keystone, and the compute host out of Nova's choice."""
    for kind, name in (("services", "usb-shim"), ("users", "usb-shim")):
        [found] = admin.identity.get(f"/{kind}", params={"name": name}).json()[kind]
        admin.identity.delete(f"/{kind}/{found['id']}")
    [nova_compute] = admin.compute.get("/os-services", params={"binary": "nova-compute"}).json()["services"]
    admin.compute.put(f"/os-services/{nova_compute['id']}", json={"status": "disabled"})


@pytest.fixture(scope="module")
def the_site() -> Iterator[Site]:
    """The cloud of the demo, without our service and without its compute host."""
    try:
        assert lifecycle.up(more_servers=False) == 0
        Processes(PIDS, LOG).stop("usb-shim-api", "usb-shim-conductor")
        the_site = site.load()
        remove_ours(Rest(the_site, "admin"))
        Host(COMPUTE_HOST).stop()
        yield the_site
    finally:
        lifecycle.down()


@pytest.fixture(scope="module")
def controller(base: Path, the_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """What the guide expects of a controller; it meets the cloud's services on this machine's loopback."""
    directory = tmp_path_factory.mktemp("controller")
    machine = Machine(CONTROLLER, directory, [base])
    try:
        machine.install("curl", "mariadb-server", "memcached")
        yield machine
    finally:
        machine.kill()
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def compute_machine(
    base: Path, the_site: Site, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LabMachine]:
    """What the guide expects of a compute host, nova-compute among it, which has told Nova of the host."""
    directory = tmp_path_factory.mktemp("compute")
    prepared = Machine(SECOND_HOST, directory, [base])
    try:
        prepared.install("iproute2", "libvirt-daemon-system", "python3", "qemu-system-x86", "qemu-utils")
        make_place_for_python(prepared.root)
    finally:
        prepared.stop()
    with mounted(directory / "files", [prepared.changes, base]) as files:
        machine = LabMachine(SECOND_HOST, system(files))
        try:
            compute_host.wait_nova_compute(the_site, SECOND_HOST)
            compute_host.map_to_cell(Forks("nova-manage", "nova.cmd.manage", Processes(PIDS, LOG)))
            yield machine
        finally:
            machine.stop()
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def reader(the_site: Site, controller: Machine, compute_machine: LabMachine) -> Reader:
    for package in PACKAGES.glob("*.deb"):
        shutil.copy(package, controller.root / "root")
        shutil.copy(package, site.share(SECOND_HOST))
    compute_machine.run("sh", "-c", f"cp {site.share(SECOND_HOST)}/*.deb /root")
    compute_machine.run("sh", "-c", f"echo {site.GATEWAY} controller >>/etc/hosts")
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


def wait_for_guest(server_id: str, true: Callable[[str], bool]) -> None:
    """Until what the guest says is so."""
    wait_until(
        lambda: true(compute_host.console(server_id, SECOND_HOST)),
        "the guest does not say so",
        _GUEST_SECONDS,
        Host(SECOND_HOST).running,
        site.share(SECOND_HOST) / "nova-compute.log",
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


def test_by_the_text_of_the_guide(reader: Reader) -> None:
    for step in (guide.CONTROLLER_PACKAGES, guide.USER_PACKAGES, guide.COMPUTE_PACKAGES):
        reader.follow(step)
    reader.continue_with_packages()


def test_a_user_attaches_a_stick(controller: Machine, server_id: str, openstack: Callable[..., str]) -> None:
    until = f"until openstack usb host list --format=value | grep '^{SECOND_HOST} up'; do sleep 5; done"
    environment = credentials(site.load(), "admin")
    controller.run("timeout", str(_AGENT_SECONDS), "sh", "-c", until, environment=environment)
    assert _STICK.serial in openstack("usb", "device", "list", "--server", _SERVER)
    openstack("server", "add", "usb", "device", "--wait", _SERVER, _STICK.serial)
    wait_for_guest(server_id, sees_stick)
    assert "attached" in openstack("server", "usb", "device", "list", _SERVER)


def test_nothing_is_wrong(controller: Machine, compute_machine: LabMachine) -> None:
    """A server was started on the host since libvirt's daemon was reloaded, so that it knows the hook."""
    until = "until usb-shim-status upgrade check >/tmp/checked; do sleep 5; done"
    controller.try_run("timeout", "120", "sh", "-c", until)
    checked = controller.run("cat", "/tmp/checked")
    results = re.findall(r"Result: (\w+)", checked)
    journal = compute_machine.run("journalctl", "--unit=usb-shim-agent", "--lines=50")
    assert set(results) == {"Success"}, checked + journal


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
