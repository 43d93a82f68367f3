# SPDX-License-Identifier: Apache-2.0
"""The Debian packages of dist/deb in a new Debian 12: installed, configured, run, upgraded, removed, purged.

The tests are the steps of one life and run in this order. They need root and mmdebstrap; packaging/deb builds
the packages.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.ports import free_port
from tests.functional.programs import PATIENCE

_SOURCE = Path(__file__).parents[2]
_DEBS = sorted((_SOURCE / "dist/deb").glob("*.deb"))
_NAMES = sorted(deb.name.split("_")[0] for deb in _DEBS)
_UNITS = ("usb-shim-agent", "usb-shim-api", "usb-shim-conductor")
_CONFIGURATION = """\
[DEFAULT]
transport_url = fake:///
[database]
connection = sqlite:////srv/usb-shim/usb.sqlite
[keystone_authtoken]
auth_type = none
"""
# There is no systemd here to start them, and apt would ask.
_ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "DEBIAN_FRONTEND": "noninteractive",
    "LC_ALL": "C.UTF-8",
}
# What is not of a package, and changes at each installation.
_PASSING = (
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "var/cache",
    "var/lib/apt",
    "var/lib/dpkg",
    "var/log/apt",
    "var/log/dpkg.log",
    "var/log/alternatives.log",
)


class Machine:
    """A Debian 12 in a directory.

    :ivar root: the directory.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self) -> None:
        """Install it, with what the packages depend on but without the packages."""
        packages = "ca-certificates,python3,systemd,udev,libvirt0,uwsgi-core,uwsgi-plugin-python3"
        command = [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            "--skip=cleanup/apt",
            f"--include={packages}",
        ]
        subprocess.run([*command, "bookworm", self.root], check=True)
        subprocess.run(["mount", "-t", "proc", "proc", self.root / "proc"], check=True)

    def remove(self) -> None:
        """Delete it."""
        subprocess.run(["umount", self.root / "proc"], check=False)
        subprocess.run(["rm", "-rf", "--one-file-system", self.root], check=True)

    def run(self, *command: str, status: int = 0) -> str:
        """Run a program there; what it says, on either stream."""
        done = subprocess.run(
            ["chroot", self.root, *command],
            env=_ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def files(self) -> set[str]:
        """Every file but those that come and go with any package."""
        found = set()
        for directory, names, files in os.walk(self.root):
            here = Path(directory).relative_to(self.root)
            names[:] = [name for name in names if str(here / name) not in _PASSING]
            found |= {str(here / name) for name in (*names, *files)}
        return found - set(_PASSING)

    def install(self) -> str:
        """Install the packages of dist/deb; what apt says."""
        directory = self.root / "tmp/debs"
        directory.mkdir(exist_ok=True)
        for deb in _DEBS:
            (directory / deb.name).write_bytes(deb.read_bytes())
        names = [f"/tmp/debs/{deb.name}" for deb in _DEBS]
        return self.run("apt-get", "install", "--yes", "--no-install-recommends", "--reinstall", *names)

    def command(self, unit: str) -> list[str]:
        """What systemd would run for a unit, as the user that it would have."""
        lines = (self.root / f"lib/systemd/system/{unit}.service").read_text().splitlines()
        settings = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        user = settings.get("User", "root")
        change = ["setpriv", f"--reuid={user}", f"--regid={settings.get('Group', user)}", "--init-groups"]
        return [*change, *settings["ExecStart"].split()]

    @contextlib.contextmanager
    def program(self, name: str, command: list[str]) -> Iterator[Program]:
        """A program, until the end of the block; it has to end well at SIGTERM."""
        log = self.root / f"tmp/{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["chroot", self.root, *command], env=_ENVIRONMENT, stdout=output, stderr=output
            )
        program = Program(process, log)
        try:
            yield program
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0, program.said()
        finally:
            process.kill()
            process.wait()

    def running(self, unit: str) -> contextlib.AbstractContextManager[Program]:
        """The program of a unit, as `program`."""
        return self.program(unit, self.command(unit))


class Program:
    """A program that runs in a machine, and its log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    def said(self) -> str:
        """What it has said."""
        return self._log.read_text(errors="replace")

    def says(self, text: str) -> None:
        """Wait until it has said something."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.said():
            assert self._process.poll() is None and time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def answer(self, url: str) -> str:
        """Wait until it answers there; what it answers."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(url) as response:  # noqa: S310
                    return response.read().decode()
            except OSError:
                assert self._process.poll() is None and time.monotonic() < deadline, self.said()
                time.sleep(0.1)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A Debian 12 with the packages installed."""
    assert _DEBS, "Build the packages first: packaging/deb"
    machine = Machine(tmp_path_factory.mktemp("machine") / "root")
    try:
        machine.create()
        yield machine
    finally:
        machine.remove()


@pytest.fixture(scope="module")
def before(machine: Machine) -> set[str]:
    """The files that there are without the packages."""
    return machine.files()


def test_they_install(machine: Machine, before: set[str]) -> None:
    assert [
        f"usb-shim-{name}" for name in ("agent", "api", "client", "common", "conductor", "dashboard")
    ] == _NAMES
    machine.install()
    assert machine.run("dpkg-query", "--show", "--showformat=${db:Status-Status}\n", *_NAMES).split() == [
        "installed"
    ] * len(_NAMES)
    directories = ("/etc/usb-shim", "/etc/usb-shim-relay", "/var/log/usb-shim")
    assert machine.run("stat", "--format=%a %U %G", *directories).splitlines() == [
        "750 root usb-shim",
        "750 root usb-shim-relay",
        "770 root usb-shim",
    ]


@pytest.mark.parametrize("unit", _UNITS)
def test_a_unit_is_not_enabled_and_knows_its_program(machine: Machine, unit: str) -> None:
    assert machine.run("systemctl", "is-enabled", unit, status=1) == "disabled\n"
    program = next(word for word in machine.command(unit) if word.startswith("/"))
    machine.run("test", "-x", program)


def test_what_is_not_configured_does_not_run(machine: Machine) -> None:
    said = machine.run(*machine.command("usb-shim-conductor"), status=1)
    assert said.startswith("usb-shim-conductor: ") and said.count("\n") == 1
    assert "/etc/usb-shim/usb-shim.conf" in said


def test_the_samples_have_all_options_and_policies(machine: Machine) -> None:
    shared = machine.root / "usr/share/usb-shim"
    assert "#device_spec =" in (shared / "usb-shim.conf.sample").read_text()
    assert "usb-passthrough:devices:" in (shared / "policy.yaml.sample").read_text()


def test_the_tables_are_made(machine: Machine) -> None:
    file = machine.root / "etc/usb-shim/usb-shim.conf"
    machine.run("install", "-m", "640", "-g", "usb-shim", "/dev/null", "/etc/usb-shim/usb-shim.conf")
    file.write_text(_CONFIGURATION)
    machine.run("install", "-d", "-o", "usb-shim", "/srv/usb-shim")
    as_user = ("setpriv", "--reuid=usb-shim", "--regid=usb-shim", "--init-groups")
    machine.run(*as_user, "usb-shim-manage", "db", "sync")
    assert machine.run(*as_user, "usb-shim-manage", "db", "version").strip()


def test_the_conductor_runs(machine: Machine) -> None:
    with machine.running("usb-shim-conductor") as conductor:
        conductor.says("usb-shim-conductor 1.0.0 started")
        conductor.says("Serving agents")


def test_the_api_answers(machine: Machine) -> None:
    port = free_port()
    ini = machine.root / "etc/usb-shim/uwsgi.ini"
    ini.write_text(ini.read_text().replace("127.0.0.1:9815", f"127.0.0.1:{port}"))
    with machine.running("usb-shim-api") as api:
        assert api.answer(f"http://127.0.0.1:{port}/healthcheck/deep").strip() == "OK"
        assert f"http://127.0.0.1:{port}/v1/" in api.answer(f"http://127.0.0.1:{port}/")


def test_the_agent_refuses_a_host_that_it_cannot_see(machine: Machine) -> None:
    said = machine.run(*machine.command("usb-shim-agent"), status=1)
    assert said.splitlines()[-1].startswith("usb-shim-agent: ")
    assert "Traceback" not in said


def test_the_agent_runs_where_it_is_let_run_blind(machine: Machine) -> None:
    # As tests/functional/agent_here.py: without /sys it finds no device to offer, and nothing to do.
    blind = "from compute_shim.cmd import agent; agent.host_view.refuse_blind = lambda: None; agent.main()"
    with machine.program("agent", ["/usr/lib/usb-shim/bin/python", "-c", blind]) as agent:
        agent.says("usb-shim-agent 1.0.0 started")
        agent.says("libvirt at qemu:///system: Failed to connect")


def test_the_agents_libraries_and_hook(machine: Machine) -> None:
    machine.run("/usr/lib/usb-shim/bin/python", "-c", "import libvirt, libvirt_lxc, libvirt_qemu, pyudev")
    machine.run("/etc/libvirt/hooks/qemu.d/50-usb-shim", "guest", "started", "begin", "-")
    # AppArmor does not let libvirt execute what is elsewhere.
    machine.run("test", "!", "-L", "/etc/libvirt/hooks/qemu.d/50-usb-shim")
    assert (machine.root / "run/libvirt/usb-shim-hook").exists() == (machine.root / "run/libvirt").exists()


def test_the_relay_is_there(machine: Machine) -> None:
    assert "usage: usb-shim-relay" in machine.run("/usr/lib/usb-shim/bin/usb-shim-relay", "--help")


@pytest.mark.parametrize(
    "command",
    ["openstack usb device list --help", "openstack server add usb device --help", "nova help usb-list"],
)
def test_the_client_has_the_commands(machine: Machine, command: str) -> None:
    program, *arguments = command.split()
    assert "usage: " in machine.run(f"/usr/lib/usb-shim-client/bin/{program}", *arguments)


def test_the_dashboard_in_a_horizon_that_is_new_enough(machine: Machine, tmp_path: Path) -> None:
    modules = machine.root / "usr/lib/python3/dist-packages"
    ask = (
        "import django, usb_dashboard; django.setup()\n"
        "from django import urls\n"
        "from django.core import management\n"
        "management.call_command('check')\n"
        "print(usb_dashboard.__file__)\n"
        "print([urls.reverse(f'horizon:{dashboard}:usb:index') for dashboard in ('project', 'admin')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ask],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": f"{modules}:{_SOURCE}",
            "DJANGO_SETTINGS_MODULE": "tests.dashboard.settings",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [
        f"{modules}/usb_dashboard/__init__.py",
        "['/project/usb/', '/admin/usb/']",
    ]
    for link in ("local/enabled/_1130_project_usb_panel.py", "local/enabled/_2170_admin_usb_panel.py"):
        machine.run("test", "-f", f"/usr/lib/python3/dist-packages/openstack_dashboard/{link}")
    machine.run("test", "-f", "/etc/openstack-dashboard/local_settings.d/_2190_usb.py")


def test_the_horizon_of_debian_12_is_refused(machine: Machine) -> None:
    said = machine.run(
        "apt-get",
        "install",
        "--simulate",
        "--no-remove",
        "openstack-dashboard",
        "usb-shim-dashboard",
        status=100,
    )
    assert "usb-shim-dashboard : Breaks: python3-django-horizon (< 3:24.0.0~)" in said


def test_an_upgrade_keeps_what_the_administrator_wrote(machine: Machine) -> None:
    names = ("etc/usb-shim/uwsgi.ini", "etc/usb-shim/usb-shim.conf")
    written = [(machine.root / name).read_text() for name in names]
    machine.install()
    assert [(machine.root / name).read_text() for name in names] == written


def test_purged_they_leave_what_they_did_not_install(machine: Machine, before: set[str]) -> None:
    machine.run("apt-get", "remove", "--yes", *_NAMES)
    assert (machine.root / "etc/usb-shim/uwsgi.ini").exists()
    said = machine.run("dpkg", "--purge", *_NAMES)
    assert "usb-shim.conf" in said and "are kept" in said
    left = {name for name in machine.files() - before if not name.endswith(".pyc")}
    assert left == {"etc/usb-shim", "etc/usb-shim/usb-shim.conf", "srv/usb-shim", "srv/usb-shim/usb.sqlite"}
    assert machine.run("dpkg", "--audit") == ""
