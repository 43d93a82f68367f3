# SPDX-License-Identifier: Apache-2.0
"""Debian 12 machines in directories, with systemd as their first process (systemd-nspawn).

Those of one test share a network namespace: its loopback is its own, so that services have their usual
ports, and slirp4netns is the way out, to download packages. Needs root.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.deploy.place import Place
from tests.functional.programs import PATIENCE

# Of slirp4netns(1), which hands on to the name server of this machine.
_NAME_SERVER = "10.0.2.3"
# The certificate authorities of this machine, which may reach PyPI through a proxy.
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
_HOSTS = "127.0.0.1 localhost controller compute1\n"
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    # Nobody answers its questions here.
    "DEBIAN_FRONTEND": "noninteractive",
}


class Network:
    """A network namespace, for all machines of a test."""

    _numbers = itertools.count(1)

    def __init__(self) -> None:
        self.path = Path(f"/run/netns/usb-deploy-{os.getpid()}-{next(self._numbers)}")
        subprocess.run(["ip", "netns", "add", self.path.name], check=True)
        subprocess.run(["ip", "-n", self.path.name, "link", "set", "lo", "up"], check=True)
        self._way_out = subprocess.Popen(
            ["slirp4netns", "--configure", "--disable-host-loopback", "--netns-type=path", self.path, "tap0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def remove(self) -> None:
        """Remove it."""
        self._way_out.terminate()
        self._way_out.wait()
        subprocess.run(["ip", "netns", "delete", self.path.name], check=True)


def create_base(directory: Path) -> None:
    """Install a Debian 12 as debootstrap does: the packages of priority required and important."""
    subprocess.run(
        [
            "mmdebstrap",
            "--quiet",
            "--variant=important",
            "--skip=cleanup/apt/lists",
            "--include=ca-certificates,dbus",
            "bookworm",
            directory,
        ],
        check=True,
    )
    (directory / "etc/hosts").write_text(_HOSTS)
    (directory / "etc/resolv.conf").write_text(f"nameserver {_NAME_SERVER}\n")
    (directory / "etc/dpkg/dpkg.cfg.d/unsafe-io").write_text("force-unsafe-io\n")
    (directory / "etc/pip.conf").write_text(f"[global]\ncert = {_AUTHORITIES}\n")
    (directory / _AUTHORITIES.relative_to("/")).write_bytes(_AUTHORITIES.read_bytes())


@contextlib.contextmanager
def mounted(directory: Path, layers: Sequence[Path]) -> Iterator[Path]:
    """The files of a machine that does not run, read-only at a new directory.

    :param layers: as for `Machine`.
    """
    directory.mkdir()
    options = f"lowerdir={':'.join(str(layer) for layer in layers)}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--recursive", directory], check=True)


class Machine(Place):
    """One that runs until `stop`.

    :ivar root: its files, while it runs; without what is mounted there, such as ``/run``.
    :ivar changes: what it has written, as a layer for another machine.
    :ivar pid: of its first process.
    """

    def __init__(
        self, name: str, directory: Path, layers: Sequence[Path], network: Network | None = None
    ) -> None:
        """Start it, and wait until systemd has started what is enabled.

        :param layers: directories with files, the uppermost first.
        :param network: None for that of this machine.
        """
        self.name = name
        self.root = directory / "root"
        self.changes = directory / "changes"
        work = directory / "work"
        for path in (self.root, self.changes, work):
            path.mkdir(parents=True)
        lower = ":".join(str(layer) for layer in layers)
        options = f"lowerdir={lower},upperdir={self.changes},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, self.root], check=True)
        if network is None:
            shutil.copyfile("/etc/resolv.conf", self.root / "etc/resolv.conf")
        (self.root / "etc/hostname").write_text(f"{name}\n")
        (self.root / "etc/machine-id").write_text("")
        self._log = directory / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "systemd-nspawn",
                    "--quiet",
                    f"--directory={self.root}",
                    f"--machine={name}-{os.getpid()}",
                    f"--hostname={name}",
                    *([f"--network-namespace-path={network.path}"] if network else []),
                    "--resolv-conf=off",
                    "--register=no",
                    "--keep-unit",
                    "--console=pipe",
                    "--",
                    "/sbin/init",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.pid = self._first_process()
        self._wait_for_systemd()

    def _first_process(self) -> int:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        deadline = time.monotonic() + PATIENCE
        while True:
            for pid in children.read_text().split():
                if Path(f"/proc/{pid}/comm").read_text() == "systemd\n":
                    return int(pid)
            assert self._process.poll() is None and time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.1)

    def _wait_for_systemd(self) -> None:
        deadline = time.monotonic() + PATIENCE
        # Before its socket is there, systemctl fails at once.
        while "running" not in (state := self.try_run("systemctl", "is-system-running", "--wait").stdout):
            if "degraded" in state:  # a container does without some units
                break
            assert self._process.poll() is None and time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.1)

    @property
    def enter(self) -> list[str]:
        """What is put in front of a command to run it there, as root, with an environment of its own."""
        spaces = [f"--{name}" for name in ("mount", "uts", "ipc", "net", "pid")]
        environment = [f"{name}={value}" for name, value in _ENVIRONMENT.items()]
        return ["nsenter", f"--target={self.pid}", *spaces, "--wdns=/root", "env", "-i", *environment]

    def try_run(
        self, *command: str, environment: Mapping[str, str] | None = None, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        more = [f"{name}={value}" for name, value in (environment or {}).items()]
        return subprocess.run(
            [*self.enter, *more, *command],
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def install(self, *packages: str) -> None:
        """Install Debian packages."""
        self.run("apt-get", "install", "--yes", "--no-install-recommends", *packages)

    def stop(self) -> None:
        """Shut it down, and keep what it has written."""
        os.kill(self.pid, signal.SIGRTMIN + 4)  # systemd(1): poweroff.target
        self._process.wait(PATIENCE)
        subprocess.run(["umount", self.root], check=True)

    def kill(self) -> None:
        """End it at once."""
        os.kill(self.pid, signal.SIGKILL)
        self._process.wait()
        subprocess.run(["umount", self.root], check=True)
