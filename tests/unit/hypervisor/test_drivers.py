# SPDX-License-Identifier: Apache-2.0
"""The driver that a connection URI stands for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from compute_shim.cmd import agent
from compute_shim.hypervisor.base import UnsupportedHypervisor
from compute_shim.hypervisor.drivers import GROUP, driver
from compute_shim.hypervisor.libvirt import host_checks
from compute_shim.hypervisor.libvirt.lxc import Lxc
from compute_shim.hypervisor.libvirt.qemu import Qemu


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("qemu:///system", Qemu),
        ("qemu+unix:///system", Qemu),
        ("lxc:///system", Lxc),
        ("lxc:///", Lxc),
    ],
)
def test_the_uri_selects_the_driver(
    monkeypatch: pytest.MonkeyPatch, uri: str, expected: type[Qemu | Lxc]
) -> None:
    monkeypatch.setattr(host_checks, "refuse_unsafe", lambda: None)
    assert type(driver(uri)) is expected


@pytest.mark.parametrize("uri", ["xen:///system", "test:///default", "lxcx:///", ""])
def test_another_hypervisor_is_refused_with_those_that_there_are(uri: str) -> None:
    with pytest.raises(
        UnsupportedHypervisor, match=r"connection_uri is '.*there is no driver for it.*: lxc, qemu\.$"
    ):
        driver(uri)


class Other:
    """A driver of another distribution."""

    def __init__(self, uri: str) -> None:
        self.uri = uri


def install(path: Path, *entries: str) -> None:
    """A distribution with these entry points, in a directory for `sys.path`."""
    metadata = path / "other_drivers-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other-drivers\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("\n".join((f"[{GROUP}]", *entries)))


def test_another_distribution_adds_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, f"xen = {__name__}:Other")
    monkeypatch.syspath_prepend(tmp_path)
    found = driver("xen+ssh:///system")
    assert isinstance(found, Other)
    assert found.uri == "xen+ssh:///system"


def test_another_distribution_cannot_replace_a_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, f"lxc = {__name__}:Other")
    monkeypatch.syspath_prepend(tmp_path)
    assert type(driver("lxc:///system")) is Lxc


def test_a_driver_that_cannot_be_loaded_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "xen = no_such_module:Driver")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnsupportedHypervisor, match="cannot be loaded: No module named 'no_such_module'"):
        driver("xen:///system")


def test_the_agent_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration = tmp_path / "usb-shim.conf"
    configuration.write_text("[libvirt]\nconnection_uri = xen:///system\n")
    monkeypatch.setattr("sys.argv", ["usb-shim-agent", f"--config-file={configuration}"])
    # It takes the handlers of pytest away.
    monkeypatch.setattr("oslo_log.log.setup", lambda conf, name: None)
    monkeypatch.setattr("os._exit", sys.exit)
    with pytest.raises(SystemExit, match=r"^1$"):
        agent.main()
    printed = capsys.readouterr().err
    assert printed.startswith(
        "usb-shim-agent: [libvirt] connection_uri is 'xen:///system': there is no driver"
    )
    assert printed.count("\n") == 1
