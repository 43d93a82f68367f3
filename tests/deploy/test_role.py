# SPDX-License-Identifier: Apache-2.0
"""The role in deploy/, by Debian's Ansible, on bare machines of Debian 12: installed, removed.

The tests are the steps of one life and run in this order. ``packaging/deb`` builds the packages.
"""

from __future__ import annotations

import configparser
import json
import subprocess
import time
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import blocks, cloud, guide
from tests.deploy.conftest import PACKAGES, Start
from tests.deploy.deployer import DEPLOY, Deployer
from tests.deploy.machine import Machine
from tests.functional.programs import PATIENCE
from tests.pki import Authority

# oslo.config, a URL and Jinja each have a meaning for some of these.
_PASSWORD = "service/S3cret$user"
_DATABASE_PASSWORD = "database/S3cret$user@%"
# What a host of the network transport has beside its configuration.
_NETWORK = [
    "/etc/systemd/system/usb-shim-agent.service.d/network-usb.conf",
    *(f"/etc/usb-shim-relay/{name}.pem" for name in ("cert", "key", "ca")),
]
_CLIENT = "/usr/lib/usb-shim-client/bin/openstack"
_VARIABLES: dict[str, Any] = {
    "usb_shim_packages_directory": str(PACKAGES),
    "usb_shim_transport_url": f"rabbit://openstack:{cloud.RABBIT_PASSWORD}@controller",
    "usb_shim_keystone_url": cloud.KEYSTONE,
    "usb_shim_password": _PASSWORD,
    "usb_shim_memcached_servers": "controller:11211",
    "usb_shim_database_host": "controller",
    "usb_shim_database_password": _DATABASE_PASSWORD,
    "usb_shim_create_database": True,
    "usb_shim_database_admin_socket": "/run/mysqld/mysqld.sock",
    "usb_shim_create_identity": True,
    "usb_shim_endpoint_url": "http://controller:9815",
    "usb_shim_openstack_environment": cloud.ADMIN,
    "usb_shim_device_spec": [{"vendor_id": "0781", "shared": True}],
    # There is no Horizon.
    "usb_shim_dashboard_commands": [["touch", "/run/rebuilt"]],
    "usb_shim_dashboard_unit": "",
}


@pytest.fixture(scope="module")
def controller(start: Start, controller_layers: list[Path]) -> Machine:
    return start("controller", controller_layers)


@pytest.fixture(scope="module")
def compute(start: Start) -> Machine:
    machine = start("compute1")
    machine.install("libvirt-daemon-system", "qemu-system-x86", "python3")
    machine.run("bash", "-c", guide.BLIND_PACKAGE)
    return machine


@pytest.fixture(scope="module")
def before(controller: Machine, compute: Machine) -> dict[str, set[str]]:
    """What of ours is there without the role."""
    return {machine.name: ours(machine) for machine in (controller, compute)}


@pytest.fixture(scope="module")
def deployer(
    controller: Machine,
    compute: Machine,
    before: dict[str, set[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Deployer:
    groups = {
        "usb_shim_controllers": [controller],
        "usb_shim_compute_hosts": [compute],
        "usb_shim_dashboards": [compute],
    }
    directory = tmp_path_factory.mktemp("deployer")
    files = Authority(directory, "authority").issue(compute.name, compute.name, days=365)
    network = {
        "usb_shim_network_certificate": files.cert,
        "usb_shim_network_key": files.key,
        "usb_shim_network_authority": files.ca,
    }
    return Deployer(directory, {**_VARIABLES, **network}, groups)


def ours(machine: Machine) -> set[str]:
    """The files that bear the name of the project, wherever they are."""
    names = ("-name", "*usb?shim*")
    found = machine.run("find", "/", "-xdev", *names, "-not", "-path", "/var/lib/apt/*").split()
    return {name for name in found if not any(name.startswith(f"{other}/") for other in found)}


def pids(controller: Machine, compute: Machine) -> dict[str, str]:
    """The process of each unit, which must run."""
    units = (("api", controller), ("conductor", controller), ("agent", compute))
    for name, machine in units:
        machine.run("systemctl", "is-active", f"usb-shim-{name}")
    show = ("systemctl", "show", "--property=MainPID", "--value")
    return {name: machine.run(*show, f"usb-shim-{name}") for name, machine in units}


def answer(machine: Machine, url: str) -> str:
    ask = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"
    return machine.run("python3", "-c", ask, url).strip()


def test_ansible_lint_finds_no_fault(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            "/usr/bin/ansible-lint",
            "--offline",
            "--nocolor",
            "--profile=production",
            "site.yml",
            "inventory.example.yml",
        ],
        cwd=DEPLOY,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_it_names_the_variable_that_is_missing(deployer: Deployer) -> None:
    deployer.run(status=2, usb_shim_transport_url="")
    assert "Set usb_shim_transport_url for controller" in deployer.said


def test_it_installs_everything(deployer: Deployer, controller: Machine, compute: Machine) -> None:
    recap = deployer.run()
    assert {host: counts["failed"] for host, counts in recap.items()} == {"controller": 0, "compute1": 0}
    pids(controller, compute)
    assert answer(controller, "http://127.0.0.1:9815/healthcheck/deep") == "OK"
    compute.run("test", "-f", "/run/rebuilt")


def test_a_second_run_changes_nothing(deployer: Deployer, controller: Machine, compute: Machine) -> None:
    running = pids(controller, compute)
    recap = deployer.run()
    assert {host: (counts["changed"], counts["failed"]) for host, counts in recap.items()} == {
        "controller": (0, 0),
        "compute1": (0, 0),
    }
    assert pids(controller, compute) == running


def test_the_service_works(controller: Machine, compute: Machine) -> None:
    until = f"until {_CLIENT} usb host list --format=value | grep '^compute1 '; do sleep 1; done"
    controller.run("timeout", "120", "sh", "-c", until, environment=cloud.ADMIN)
    # That it was reloaded cannot be seen: the agent warns until the daemon, or a server, is started.
    compute.run("systemctl", "restart", "libvirtd")
    wait_well(controller, "/etc/usb-shim/usb-shim.conf")
    controller.run(_CLIENT, "usb", "device", "list", environment=cloud.ADMIN)


def test_a_restart_of_the_agent_leaves_relays_their_files(compute: Machine) -> None:
    file = "/run/usb-shim/relays/one.state"
    compute.run("install", "-d", "-m", "771", "-g", "usb-shim-relay", "/run/usb-shim/relays")
    compute.run("install", "-o", "usb-shim-relay", "-g", "usb-shim-relay", "/dev/null", file)
    owners = ("stat", "--format=%U:%G", "/run/usb-shim/relays", file)
    before = compute.run(*owners)
    compute.run("systemctl", "restart", "usb-shim-agent")
    assert compute.run(*owners) == before == "root:usb-shim-relay\nusb-shim-relay:usb-shim-relay\n"
    compute.run("rm", "-r", "/run/usb-shim/relays")


def test_it_names_the_file_that_the_network_transport_lacks(deployer: Deployer) -> None:
    deployer.run(status=2, usb_shim_network_key="")
    assert "Set usb_shim_network_key for compute1" in deployer.said


def test_it_takes_a_host_out_of_the_network_transport_and_back(deployer: Deployer, compute: Machine) -> None:
    compute.run("ls", *_NETWORK)
    deployer.run(usb_shim_network_certificate="", usb_shim_network_key="", usb_shim_network_authority="")
    for file in _NETWORK:
        compute.run("test", "!", "-e", file)
    assert "network_usb" not in compute.run("cat", "/etc/usb-shim/usb-shim.conf")
    compute.run("systemctl", "is-active", "usb-shim-agent")
    deployer.run()
    compute.run("ls", *_NETWORK)


def test_tls_to_rabbitmq_and_mariadb_as_documented(controller: Machine) -> None:
    text = next(block.text for block in blocks.read(guide.PAGE) if "ssl_ca_file" in block.text)
    text = text.replace("RABBIT_PASSWORD", cloud.RABBIT_PASSWORD)
    text = text.replace("DB_PASSWORD", urllib.parse.quote(_DATABASE_PASSWORD, safe="").replace("$", "$$"))
    options = configparser.RawConfigParser()
    options.read_string(text)
    authority = options["oslo_messaging_rabbit"]["ssl_ca_file"]
    offer_tls(controller, authority)
    # What comes later takes precedence.
    configuration = controller.run("cat", "/etc/usb-shim/usb-shim.conf") + text
    controller.run("tee", "/tmp/tls.conf", text=configuration)
    wait_well(controller, "/tmp/tls.conf")
    certificate(controller, "/tmp/other.pem", "/tmp/other-key.pem")
    controller.run("tee", "/tmp/tls.conf", text=configuration.replace(authority, "/tmp/other.pem"))
    results = not_well(controller, "/tmp/tls.conf")
    assert (results["Bus"], results["Database"]) == (2, 2)


def offer_tls(controller: Machine, authority: str) -> None:
    """RabbitMQ at its port for TLS, too, and MariaDB; their certificate has signed itself."""
    key = "/etc/ssl/private/controller.pem"
    certificate(controller, authority, key)
    for user, server in (("mysql", "mysql"), ("rabbitmq", "rabbitmq")):
        controller.run("install", "-o", user, "-m", "600", key, f"/etc/{server}/key.pem")
    (controller.root / "etc/mysql/mariadb.conf.d/99-tls.cnf").write_text(
        f"[mariadbd]\nssl-cert = {authority}\nssl-key = /etc/mysql/key.pem\n"
    )
    (controller.root / "etc/rabbitmq/rabbitmq.conf").write_text(
        "listeners.tcp.default = 5672\nlisteners.ssl.default = 5671\n"
        f"ssl_options.certfile = {authority}\nssl_options.keyfile = /etc/rabbitmq/key.pem\n"
    )
    controller.run("systemctl", "restart", "mariadb", "rabbitmq-server")


def certificate(controller: Machine, path: str, key: str) -> None:
    """Make a certificate of the controller, with a key."""
    names = ("-subj", "/CN=controller", "-addext", "subjectAltName=DNS:controller")
    controller.run(
        "openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", *names, "-keyout", key, "-out", path
    )


def wait_well(controller: Machine, configuration: str) -> None:
    """Until only this is wrong: no Nova knows the host of the agent. Units were restarted a moment ago."""
    deadline = time.monotonic() + PATIENCE
    while (found := not_well(controller, configuration)) != {"Nova": 1}:
        assert time.monotonic() < deadline, found


def not_well(controller: Machine, configuration: str) -> dict[str, int]:
    """What ``usb-shim-status upgrade check`` does not call a success: 1 is a warning, 2 a failure."""
    said = controller.try_run(
        "usb-shim-status", f"--config-file={configuration}", "upgrade", "--json", "check"
    ).stdout
    results = {result["check"]: result["result"] for result in json.loads(said)["checks"]}
    return {name: result for name, result in results.items() if result}


def test_it_names_a_misspelt_option(deployer: Deployer) -> None:
    deployer.run(status=2, usb_shim_config={"api": {"max_limti": 5}})
    assert "max_limti" in deployer.said


def test_it_shows_no_password(deployer: Deployer) -> None:
    assert "Write the configuration" in deployer.said
    for secret in (_PASSWORD, _DATABASE_PASSWORD, cloud.RABBIT_PASSWORD, cloud.ADMIN_PASSWORD):
        assert secret not in deployer.said


def test_it_removes_what_it_installed(
    deployer: Deployer, controller: Machine, compute: Machine, before: dict[str, set[str]]
) -> None:
    recap = deployer.run(usb_shim_state="absent")
    assert {host: counts["failed"] for host, counts in recap.items()} == {"controller": 0, "compute1": 0}
    # As documented, the database is kept, and the user.
    assert ours(controller) - before["controller"] == {"/var/lib/mysql/usb_shim"}
    assert ours(compute) - before["compute1"] == set()
    controller.run("id", "usb-shim")
    compute.run("id", "usb-shim", "usb-shim-relay")


def test_removed_again_nothing_changes(deployer: Deployer) -> None:
    recap = deployer.run(usb_shim_state="absent")
    assert {host: (counts["changed"], counts["failed"]) for host, counts in recap.items()} == {
        "controller": (0, 0),
        "compute1": (0, 0),
    }
