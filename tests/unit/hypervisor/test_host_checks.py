# SPDX-License-Identifier: Apache-2.0
"""A host on which libvirt does not protect the devices, or not at an arrival."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compute_shim.hypervisor.base import UnsafeHost
from compute_shim.hypervisor.libvirt import hook, host_checks

NO_NAMESPACES = "namespaces = [ ]\n"
NO_DEVICES = 'cgroup_controllers = [ "cpu", "memory" ]\n'


@pytest.mark.parametrize(
    "text",
    [
        "",
        NO_NAMESPACES,
        NO_DEVICES,
        f"#{NO_NAMESPACES}{NO_DEVICES}",
        NO_NAMESPACES + NO_DEVICES + NO_DEVICES.replace(" ]", ',\n  "devices" ]'),
        NO_NAMESPACES.replace("]", '"mount" ]') + NO_DEVICES,
    ],
)
def test_one_protection_is_enough(tmp_path: Path, text: str) -> None:
    (tmp_path / "qemu.conf").write_text(text)
    host_checks.refuse_unsafe(tmp_path / "qemu.conf")


def test_without_settings_there_are_both(tmp_path: Path) -> None:
    host_checks.refuse_unsafe(tmp_path / "qemu.conf")


@pytest.mark.parametrize("controllers", [NO_DEVICES, "cgroup_controllers=[]\n"])
def test_without_either_the_agent_does_not_start(tmp_path: Path, controllers: str) -> None:
    (tmp_path / "qemu.conf").write_text(NO_NAMESPACES + controllers)
    with pytest.raises(UnsafeHost, match=r"qemu\.conf switches off .*namespaces and cgroup_controllers"):
        host_checks.refuse_unsafe(tmp_path / "qemu.conf")


class Libvirt:
    """A daemon with hooks, started and called at certain times."""

    def __init__(self, root: Path) -> None:
        self.installed = root / "50-usb-shim"
        self.pid = root / "libvirtd.pid"
        self.called = root / "called"

    def install(self, content: bytes = Path(hook.__file__).read_bytes(), mode: int = 0o755) -> None:
        self.installed.write_bytes(content)
        self.installed.chmod(mode)

    def start(self, seconds: int) -> None:
        """So many seconds after the hook was installed."""
        self._touch(self.pid, seconds)

    def call(self, seconds: int) -> None:
        self._touch(self.called, seconds)

    def _touch(self, path: Path, seconds: int) -> None:
        path.touch()
        time = self.installed.stat().st_ctime + seconds
        os.utime(path, (time, time))

    def problem(self) -> str | None:
        return host_checks.hook_problem(self.installed, (self.pid,), self.called)


@pytest.fixture
def libvirt(tmp_path: Path) -> Libvirt:
    return Libvirt(tmp_path)


def test_the_hook_is_missing(libvirt: Libvirt) -> None:
    problem = libvirt.problem()
    assert problem is not None
    assert f"{libvirt.installed} is missing" in problem
    assert f"install -D -m 755 {hook.__file__} {libvirt.installed}" in problem


@pytest.mark.parametrize(("content", "mode"), [(b"#!/bin/sh\n", 0o755), (None, 0o644)])
def test_it_is_another_file_or_not_executable(libvirt: Libvirt, content: bytes | None, mode: int) -> None:
    libvirt.install(content or Path(hook.__file__).read_bytes(), mode)
    libvirt.start(10)
    assert "is not the executable file that belongs to this agent" in (libvirt.problem() or "")


def test_it_is_a_link_which_apparmor_does_not_let_libvirt_execute(libvirt: Libvirt) -> None:
    libvirt.installed.symlink_to(Path(hook.__file__))
    libvirt.start(10)
    assert f"install -D -m 755 {hook.__file__} {libvirt.installed}" in (libvirt.problem() or "")
    assert "is a link" in (libvirt.problem() or "")


def test_the_daemon_was_started_after_it_was_installed(libvirt: Libvirt) -> None:
    libvirt.install()
    libvirt.start(10)
    assert libvirt.problem() is None


def test_the_daemon_is_older_until_it_has_called_the_hook(libvirt: Libvirt) -> None:
    libvirt.install()
    libvirt.start(-10)
    assert "systemctl reload libvirtd" in (libvirt.problem() or "")
    libvirt.call(-5)
    assert "systemctl reload libvirtd" in (libvirt.problem() or "")
    libvirt.call(5)
    assert libvirt.problem() is None
